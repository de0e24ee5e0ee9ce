// How the page names the kinds of events.

import { clock, plain } from "../parts/format.js";

// The colour of each kind is that of a status.
const KINDS = {
  registered: { colour: "active", name: "registered", meaning: "A publisher has registered the stream" },
  taken_over: { colour: "paused", name: "taken over", meaning: "Another publisher or node now sends the stream" },
  status: { colour: "connecting", name: "status changed", meaning: "The publisher or an operator has set a status" },
  expired: { colour: "error", name: "expired", meaning: "The time to live has passed without a heartbeat" },
  unregistered: { colour: "closed", name: "ended", meaning: "The publisher or an operator has ended the stream" },
};

export const MEANINGS = Object.values(KINDS).map(({ name, meaning }) => `${name}: ${meaning}`);

// Returns the colour, the name and the meaning of an event.
export const kindOf = ({ event }) => KINDS[event] ?? { colour: "other", name: plain(event), meaning: "" };

export const gapText = ({ gap }) =>
  `Not connected from ${clock(gap.from)} to ${clock(gap.to)}; events of this time may be missing`;
