// Reads server-sent events from a response (HTML Living Standard, section 9.2). Unlike `EventSource`, `fetch` can send
// a token.

// Pause after each chunk. Hundreds of events per second then arrive in a few chunks and not one by one.
const GATHER_MS = 100;
// After a chunk of this size, more data is waiting, so there is no pause.
const LARGE = 16384;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// Calls `onEvents` with the events of each chunk until the response ends. Throws if the connection breaks.
export async function readEvents(response, onEvents) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const end = rest.lastIndexOf("\n\n");
    if (end >= 0) {
      const events = parse(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (events.length > 0) onEvents(events);
    }
    if (value.length < LARGE) await pause(GATHER_MS);
  }
}

// Each event of the server has one line of data, which contains the revision, too.
function parse(text) {
  const events = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("data:")) events.push(JSON.parse(line.slice(5)));
  }
  return events;
}
