// The list of events: what has come, what was sent, newest first.

const cap = 500; // entries kept
const longest = 100_000; // characters kept of a body
const preview = 300; // characters of a body on one line
const rest = 100; // ms between two drawings
const pause = 2000; // ms between two sentences for a screen reader

// What an entry can be: the mark before it, and how that is read.
const kinds = {
  received: { mark: "↓", spoken: "received" },
  sent: { mark: "↑", spoken: "sent" },
  answer: { mark: "✓", spoken: "answer to" },
  refused: { mark: "✗", spoken: "refused" },
  note: { mark: "·", spoken: "note" },
};

const $ = (id) => document.getElementById(id);
const entries = []; // newest first, each with its element
let pending = []; // not drawn yet
let total = 0;
let paused = false;
let drawing = false;
let drawn = -Infinity; // when the list was drawn last
let heard = []; // names of events received and not spoken of yet

// add puts one entry on the list. took is in milliseconds, of an answer.
export function add(kind, name, body, took) {
  const text = body === undefined ? "" : JSON.stringify(body, binaryAsText) ?? "";
  const cut = text.length > longest;
  pending.push({ time: new Date(), kind, name, took, text: text.slice(0, longest), body: cut ? undefined : body, cut });
  if (pending.length > cap) pending.shift();
  total++;
  if (kind === "received") heard.push(name);
  schedule();
}

function binaryAsText(_, value) {
  const bytes = ArrayBuffer.isView(value) || value instanceof ArrayBuffer ? value.byteLength : undefined;
  return bytes === undefined ? value : `‹${bytes} bytes›`;
}

// schedule has the list drawn soon, however much comes until then.
function schedule() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => requestAnimationFrame(draw), drawn + rest - performance.now());
}

function draw() {
  drawing = false;
  drawn = performance.now();
  if (!paused && pending.length > 0) {
    const fresh = pending.reverse();
    pending = [];
    for (const entry of fresh) entry.element = row(entry);
    $("entries").prepend(...fresh.map((entry) => entry.element));
    entries.unshift(...fresh);
    for (const old of entries.splice(cap)) old.element.remove();
    $("latest").hidden = false;
    $("latest").textContent = `${entries.length}: ${kinds[entries[0].kind].mark} ${entries[0].name}`;
  }
  filter();
}

function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  let shown = 0;
  for (const entry of entries) {
    const match = wanted === "" || entry.name.toLowerCase().includes(wanted) || entry.text.toLowerCase().includes(wanted);
    entry.element.hidden = !match;
    if (match) shown++;
  }
  tell(wanted, shown);
}

function tell(wanted, shown) {
  const words = [];
  if (wanted !== "") words.push(`${shown} of ${entries.length} shown`);
  else if (total > cap) words.push(`newest ${entries.length} of ${total.toLocaleString("en")}`);
  else if (total > 0) words.push(`${entries.length}`);
  if (pending.length > 0) words.push(`${pending.length} waiting`);
  $("count").textContent = words.join(", ");
  $("entries-empty").hidden = shown > 0;
  $("entries-empty").textContent = entries.length > 0
    ? "No event matches the filter."
    : "Nothing yet. Connect, join a room, publish an event: what comes and goes is listed here.";
}

function make(tag, className, ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

function row(entry) {
  const { mark, spoken } = kinds[entry.kind];
  const summary = make("summary", "",
    make("time", "", clock(entry.time)),
    make("span", "mark", make("span", "", mark), make("span", "spoken", ` ${spoken} `)),
    make("b", "", entry.name),
    make("span", "took", entry.took === undefined ? "" : `${Math.max(entry.took, 0.1).toFixed(1)} ms`),
    make("code", "", entry.text.slice(0, preview)));
  summary.firstChild.dateTime = entry.time.toISOString();
  summary.querySelector(".mark").firstChild.ariaHidden = "true";
  if (entry.text === "") return make("li", entry.kind, make("div", "summary", ...summary.childNodes));
  const details = make("details", "", summary);
  details.addEventListener("toggle", () => {
    if (details.children.length === 1) details.append(make("pre", "", pretty(entry)));
  });
  return make("li", entry.kind, details);
}

function clock(time) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

const tokens = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

// pretty returns a body over several lines, its tokens coloured.
function pretty(entry) {
  if (entry.cut) return `${entry.text}… cut after ${longest} characters`;
  const text = JSON.stringify(entry.body, binaryAsText, 2);
  const parts = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(tokens)) {
    const [token, string, colon] = match;
    parts.append(text.slice(end, match.index));
    parts.append(make("span", colon ? "name" : string ? "string" : "literal", string ?? token));
    parts.append(colon ?? "");
    end = match.index + token.length;
  }
  parts.append(text.slice(end));
  return parts;
}

// speak tells a screen reader what has come, without drowning it.
function speak() {
  if (heard.length === 0 || paused) return;
  const names = [...new Set(heard)].slice(0, 3).join(", ");
  $("spoken").textContent = heard.length === 1 ? `Received ${names}` : `Received ${heard.length} events: ${names}`;
  heard = [];
}

// start wires the bar above the list.
export function start() {
  $("filter").addEventListener("input", filter);
  $("clear").addEventListener("click", () => {
    entries.length = pending.length = total = 0;
    $("entries").replaceChildren();
    $("latest").hidden = true;
    filter();
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    schedule();
  });
  setInterval(speak, pause);
  filter();
}
