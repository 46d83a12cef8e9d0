// The gateway's figures: asked for every second, drawn over a minute.

const interval = 1000; // ms
const kept = 61; // points; the oldest is on its way out of the picture
const height = 24; // of the picture, in its own units
const slow = 100; // ms; a loop that has not taken a turn for so long is worth a look

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const format = (n) => (n < 10_000 ? whole : short).format(n);

const perSecond = (counter) => (now, before) => {
  const seconds = (Date.parse(now.timestamp) - Date.parse(before.timestamp)) / 1000;
  return seconds > 0 ? Math.max(0, now[counter] - before[counter]) / seconds : 0;
};

// Each: its name, what it is, its value at one reading and the one before. The
// picture reaches at least up to floor.
const figures = [
  {
    name: "Connections", about: "Engine.IO sessions on this node", floor: 2,
    value: (now) => now.transports.websocket + now.transports.polling,
    more: (now) => `${format(now.transports.polling)} polling`,
  },
  {
    name: "Rooms", about: "Rooms with members on this node, those of users included", floor: 2,
    value: (now) => now.totalRooms,
    more: (now) => (now.cluster ? `${now.cluster.nodes} ${now.cluster.nodes === 1 ? "node" : "nodes"}` : "on one node"),
  },
  { name: "Events in", about: "Events from clients", unit: "/s", floor: 5, value: perSecond("eventsReceived") },
  { name: "Deliveries", about: "Messages handed to members of rooms", unit: "/s", floor: 5, value: perSecond("deliveries") },
  {
    name: "Waiting", about: "Messages waiting for an event loop or for Redis. It should be near 0; a number that stays means that the gateway, or Redis, cannot keep up.", floor: 5,
    value: (now) => now.mailboxWaiting + (now.cluster?.queued ?? 0),
  },
  {
    name: "Loop turn age", about: "How long ago the event loop that lags most took its last turn. Up to 10 ms is normal; above 100 ms everything it serves is late by as much.", unit: "ms", floor: 20,
    value: (now) => now.loopTurnAge * 1000, worry: (ms) => ms > slow,
  },
];

// A Tile is one figure on the page.
class Tile {
  constructor(figure) {
    this.figure = figure;
    this.points = [];
    this.element = document.getElementById("figure").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    [this.number, this.more, this.stroke, this.area] = ["output", ".more", ".stroke", ".area"].map(find);
    find(".unit").textContent = figure.unit ?? "";
    const [about, explanation] = [find(".about"), find(".explanation")];
    about.textContent = figure.name;
    explanation.textContent = figure.about;
    about.addEventListener("click", () => {
      explanation.hidden = !explanation.hidden;
      about.setAttribute("aria-expanded", String(!explanation.hidden));
    });
  }

  add(now, before) {
    const value = this.figure.value(now, before);
    this.points = [...this.points, value].slice(-kept);
    this.number.textContent = format(value);
    this.more.textContent = this.figure.more?.(now) ?? `peak ${format(Math.max(...this.points))}`;
    this.element.classList.toggle("worry", Boolean(this.figure.worry?.(value)));
    this.draw();
  }

  draw() {
    const top = Math.max(this.figure.floor, ...this.points);
    const right = kept - 2;
    const left = right - this.points.length + 1;
    const line = this.points.map((v, i) => `${left + i},${(height - 1 - (v / top) * (height - 2)).toFixed(2)}`).join("L");
    this.stroke.setAttribute("d", `M${line}`);
    this.area.setAttribute("d", `M${left},${height}L${line}L${right},${height}Z`);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const path of [this.stroke, this.area]) {
      path.animate([{ transform: "translateX(1px)" }, { transform: "none" }], { duration: interval });
    }
  }
}

// watch draws the figures for as long as somebody looks at the page.
export function watch() {
  const list = document.getElementById("figure-list");
  if (!list) return; // there are none to see
  const tiles = figures.map((figure) => new Tile(figure));
  list.replaceChildren(...tiles.map((tile) => tile.element));
  const error = document.getElementById("figures-error");
  let before;

  async function ask() {
    const answer = await fetch("/console/figures", { signal: AbortSignal.timeout(5 * interval) });
    return { status: answer.status, figures: answer.ok ? await answer.json() : undefined };
  }

  async function read() {
    const answer = await ask().catch(() => undefined);
    const now = answer?.figures;
    error.hidden = Boolean(now);
    list.classList.toggle("stale", !now);
    if (!now) {
      error.textContent = answer ? `No figures: the gateway answers with ${answer.status}.` : "No figures: the gateway does not answer.";
      return;
    }
    if (before) for (const tile of tiles) tile.add(now, before);
    before = now;
  }

  async function run() {
    for (;;) {
      const next = new Promise((resolve) => setTimeout(resolve, interval));
      if (!document.hidden) await read();
      await next;
    }
  }
  run();
}
