// The selection: which streams the page shows, and in which order. The URL contains it, so a reload, a copied link and
// the Back button show the same streams.

const MAX_SEARCH = 200;
const MAX_STATUS = 32;
const FIELDS = ["id", "type", "status", "source_addr", "node", "bitrate", "last_heartbeat"];
const DEFAULT_SORT = "id";

export function fromUrl() {
  const query = new URLSearchParams(location.search);
  const sort = query.get("sort") ?? "";
  const page = Number(query.get("page"));
  return {
    search: (query.get("search") ?? "").trim().slice(0, MAX_SEARCH),
    status: (query.get("status") ?? "").slice(0, MAX_STATUS),
    sort: FIELDS.includes(sort.replace(/^-/, "")) ? sort : DEFAULT_SORT,
    page: Number.isSafeInteger(page) && page > 0 ? page : 1,
  };
}

export function toUrl(selection) {
  const query = conditions(selection);
  if (selection.sort !== DEFAULT_SORT) query.set("sort", selection.sort);
  if (selection.page > 1) query.set("page", selection.page);
  return query.size > 0 ? `?${query}` : location.pathname;
}

// Returns the filter as parameters that the API accepts.
export function conditions({ search, status }) {
  const query = new URLSearchParams();
  if (search) query.set("search", search);
  if (status) query.set("status", status);
  return query;
}

export const isFiltered = ({ search, status }) => Boolean(search || status);

// Returns the order after a click on a header: ascending first, then descending.
export const nextSort = (sort, field) => sort === field ? `-${field}` : field;
