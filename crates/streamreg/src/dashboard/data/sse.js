// Reads server-sent events from a response (HTML Living Standard, section 9.2). Unlike `EventSource`, `fetch` can send
// a token.

// Events are parsed and applied together if they arrive within this time.
const GATHER_MS = 100;

// Calls `onEvents` with the events that have arrived, until the response ends. Throws if the connection breaks, or if
// an event is invalid.
export async function readEvents(response, onEvents) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let timer = null;
  let fault = null;
  const gathered = () => {
    timer = null;
    const end = text.lastIndexOf("\n\n");
    if (end < 0) return;
    const complete = text.slice(0, end);
    text = text.slice(end + 2);
    try {
      onEvents(parse(complete));
    } catch (error) {
      fault = error;
      reader.cancel();
    }
  };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      timer ??= setTimeout(gathered, GATHER_MS);
    }
  } finally {
    clearTimeout(timer);
  }
  if (fault) throw fault;
  gathered();
}

// Each event of the server has one line of data, which contains the revision, too.
function parse(text) {
  const events = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("data:")) events.push(JSON.parse(line.slice(5)));
  }
  return events;
}
