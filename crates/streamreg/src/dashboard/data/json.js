// JSON whose numbers stay as the server has written them.

// A number that JavaScript would write differently, e.g. an integer above 2^53, which it would also round.
export class Exact extends Number {
  constructor(source) {
    super(source);
    this.source = source;
  }

  toJSON() { return JSON.rawJSON(this.source); }
}

// Parses JSON like `JSON.parse`, with exact numbers. If the browser does not tell the source of a number, the number is
// rounded.
export const exact = (json) => JSON.parse(json, (_, value, context) =>
  typeof value === "number" && context?.source && String(value) !== context.source
    ? new Exact(context.source) : value);
