// The console: a session with the real client, rooms, publishing.
import { io } from "/console/socket.io.esm.min.js";
import * as log from "/console/log.js";
import { watch } from "/console/figures.js";

const ackTimeout = 10_000; // ms

const $ = (id) => document.getElementById(id);
let socket; // the session's, if there is one
let second; // socket of a second user, if there is one
let secondUser = ""; // as the gateway calls it
let token = ""; // the newest that the session has
let user = ""; // as the gateway calls it
const rooms = new Map(); // by name: what join_room was asked with, and its element

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = text === "";
}

// Sessions

// claims returns what a token says, without verifying it; null if it is none.
function claims(token) {
  try {
    const [, body] = token.split(".");
    const bytes = Uint8Array.from(atob(body.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

const moment = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const untilWhen = (token) => {
  const exp = claims(token)?.exp;
  if (!exp) return "without end";
  return `${exp * 1000 > Date.now() ? "until" : "ended"} ${moment(exp)}`;
};

function describeToken() {
  const token = $("token").value.trim();
  const found = claims(token);
  const id = found?.id ?? found?.userId ?? found?.sub;
  show("claims", token === "" ? "" : found ? `user ${id ?? "missing"}, ${untilWhen(token)}` : "This is not a JWT.");
}

// newToken asks the gateway for a token, which it gives in development only.
async function newToken(id = $("user")?.value.trim()) {
  if (!id) return "";
  const answer = await fetch(`/console/token?user=${encodeURIComponent(id)}`, { method: "POST" });
  const { token, error } = await answer.json();
  if (!token) throw new Error(error);
  return token;
}

async function connect() {
  show("connect-error", "");
  setState("connecting", "Connecting…");
  try {
    const first = $("token").value.trim() || (await newToken());
    if ($("state").dataset.state !== "connecting") return; // stopped meanwhile
    open(first, $("transport").value);
  } catch (e) {
    end(e.message);
  }
}

function open(first, transport) {
  token = first;
  // Asked for at each connection: a token that was refreshed is the one to come back with.
  const options = { auth: (answer) => answer({ token, recovery: true }), forceNew: true };
  if (transport) options.transports = [transport];
  socket = io(options);
  $("fact-token").textContent = token ? untilWhen(token) : "none";
  const mine = socket;
  const current = (handle) => (...args) => mine === socket && handle(...args);
  socket.on("connect", current(connected));
  socket.on("connect_error", current(refused));
  socket.on("disconnect", current(disconnected));
  socket.onAny(current((event, ...args) => received(event, args)));
}

function connected() {
  const { engine } = socket.io;
  const { recovered } = socket; // it is the session of before, in its rooms
  if (!recovered) user = "";
  showSession();
  engine.on("upgrade", showSession);
  log.add("note", "connect", { id: socket.id, transport: engine.transport.name, recovered });
  if (recovered) return;
  for (const { data } of rooms.values()) ask("join_room", data); // after a reconnection
}

function showSession() {
  if (!socket?.connected) return;
  $("fact-user").textContent = user || "nobody";
  $("fact-socket").textContent = socket.id;
  $("fact-recovered").textContent = socket.recovered ? "yes, with all that was missed" : "no, a new session";
  $("fact-transport").textContent = socket.io.engine.transport.name;
  setState("on", `Connected as ${user || "nobody"}`);
}

function refused(error) {
  log.add("refused", "connect_error", { message: error.message });
  if (!socket.active) {
    end(error.message);
    return;
  }
  setState("connecting", "Trying again…");
  show("connect-error", explain(error.message));
}

// likely has what mostly is behind errors of the client that name no cause: a
// browser tells a page no more.
const likely = {
  "xhr poll error": "the gateway does not answer here. Most likely it has stopped or is starting, or a proxy in front of it does not pass /socket.io/ on. "
    + "A page of another origin gets the same when its origin is not in CORS_ORIGIN.",
  "websocket error": "no WebSocket can be opened. Most likely the gateway has stopped, or a proxy in front of it does not pass the headers Upgrade and Connection on. "
    + "A page of another origin gets the same when its origin is not in CORS_ORIGIN.",
  timeout: "the gateway has not answered in time.",
};

const explain = (message) => (Object.hasOwn(likely, message) ? `${message}: ${likely[message]}` : message);

function disconnected(reason) {
  log.add("note", "disconnect", { reason });
  if (isCut()) setState("connecting", "Connection cut here");
  else if (socket.active) setState("connecting", "Connection lost, trying again…");
  else end(`The gateway has ended the session (${reason}).`);
}

const isCut = () => $("cut").getAttribute("aria-pressed") === "true";

// cut ends the connection, and has it stay so until the next click.
function cut() {
  const down = !isCut();
  $("cut").setAttribute("aria-pressed", down);
  $("cut").textContent = down ? "Come back" : "Cut connection";
  socket.io.reconnection(!down);
  if (down) socket.io.engine.close();
  else socket.connect();
}

function received(event, all) {
  const numbered = all.length > 1 && typeof all.at(-1) === "string"; // the offset
  const args = numbered ? all.slice(0, -1) : all;
  const body = args.length === 1 ? args[0] : args;
  log.add("received", event, body);
  if (event === "connected") {
    user = body.userId;
    showSession();
    refill();
  }
  if (event === "token_expiring_soon" && $("user")) refresh();
}

// refresh gives the gateway a newer token before the old one ends.
async function refresh() {
  try {
    const newer = $("newer-token")?.value.trim() || (await newToken(user));
    const { success, error } = await ask("refresh_token", { token: newer });
    if (!success) throw new Error(error ?? "not taken");
    token = newer;
    $("fact-token").textContent = untilWhen(newer);
    say("refreshed", "Refreshed.", true);
  } catch (e) {
    say("refreshed", e.message, false);
  }
}

function say(id, text, good) {
  $(id).className = good ? "" : "error";
  $(id).textContent = text;
}

// end goes back to the form, and says why.
function end(why) {
  const left = socket;
  socket = undefined;
  left?.disconnect();
  endSecond("");
  for (const { element } of rooms.values()) element.remove();
  rooms.clear();
  setState("off", "Not connected");
  show("connect-error", why);
}

// setState shows the state of the session: off, connecting or on.
function setState(state, text) {
  $("state").dataset.state = state;
  $("state").firstElementChild.textContent = text;
  const focused = $("connect").contains(document.activeElement) || document.activeElement === $("disconnect");
  $("connect").hidden = state !== "off";
  $("facts").hidden = $("refresh").hidden = state !== "on";
  if (state !== "on") say("refreshed", "", true);
  $("disconnect").hidden = state === "off";
  $("cut").hidden = state === "off" || (state !== "on" && !isCut());
  if (state === "off") {
    $("cut").setAttribute("aria-pressed", "false");
    $("cut").textContent = "Cut connection";
  }
  $("disconnect").textContent = state === "on" ? "Disconnect" : "Stop trying";
  if (focused) (state === "off" ? $("connect").querySelector("button") : $("disconnect")).focus();
  if (state === "on") show("connect-error", "");
  showRooms();
  showSecond();
}

// ask sends an event and returns the answer, both of them logged.
async function ask(event, data, from = socket) {
  const who = from === second ? ` by ${secondUser}` : "";
  log.add("sent", event + who, event === "refresh_token" ? { token: "…" } : data);
  const began = performance.now();
  let answer;
  try {
    answer = await from.timeout(ackTimeout).emitWithAck(event, data);
  } catch {
    answer = { error: `no answer within ${ackTimeout / 1000} s` };
  }
  log.add(answer?.error ? "refused" : "answer", event + who, answer, performance.now() - began);
  show("rooms-error", answer?.error ? `${event}: ${answer.error}` : "");
  return answer ?? {};
}

// Rooms

function showRooms() {
  const on = $("state").dataset.state === "on";
  $("join").querySelector("button").disabled = !on;
  for (const button of $("rooms").querySelectorAll("button")) button.disabled = !on;
  if (on) show("rooms-empty", rooms.size > 0 ? "" : user ? `In no room but your own, user:${user}.` : "In no room.");
  else show("rooms-empty", rooms.size > 0 ? "" : "Connect first.");
}

async function join(data) {
  const name = `${data.roomType}:${data.roomId}`;
  const { success } = await ask("join_room", data);
  if (!success || rooms.has(name)) return;
  const element = $("room").content.firstElementChild.cloneNode(true);
  element.querySelector(".name").textContent = name;
  for (const button of element.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent}, ${name}`);
    button.addEventListener("click", () => act(button.dataset.event, name));
  }
  rooms.set(name, { data, element });
  $("rooms").append(element);
  if (second?.connected) ask("join_room", data, second);
  showRooms();
  refill();
}

async function act(event, name) {
  const { data, element } = rooms.get(name);
  const from = second?.connected && document.querySelector("[name=actor]:checked").value === "second" ? second : socket;
  const { success } = await ask(event, data, from);
  if (event !== "leave_room" || !success || from === second) return;
  rooms.delete(name);
  element.remove();
  showRooms();
  $("room-id").focus();
}

// A second user, so that there is somebody to see who types

async function connectSecond() {
  show("second-error", "");
  try {
    const theirs = $("second-token")?.value.trim() || (await newToken($("second-user").value.trim()));
    secondUser = $("second-user")?.value.trim() ?? "the second"; // until the gateway says so
    const mine = (second = io({ auth: { token: theirs }, forceNew: true, transports: ["websocket"] }));
    const current = (handle) => (...args) => mine === second && handle(...args);
    mine.on("connect", current(() => {
      showSecond();
      for (const { data } of rooms.values()) ask("join_room", data, mine);
    }));
    mine.on("connect_error", current((error) => (mine.active ? show("second-error", explain(error.message)) : endSecond(error.message))));
    mine.on("disconnect", current((reason) => (mine.active ? showSecond() : endSecond(`The gateway has ended the second session (${reason}).`))));
    mine.onAny(current((event, body) => {
      log.add("received", `${event} to ${secondUser}`, body);
      if (event === "connected") {
        secondUser = body.userId;
        showSecond();
      }
    }));
  } catch (e) {
    endSecond(e.message);
  }
}

function endSecond(why) {
  const left = second;
  second = undefined;
  secondUser = "";
  left?.disconnect();
  document.querySelector("[name=actor][value=first]").checked = true;
  showSecond();
  show("second-error", why);
}

function showSecond() {
  const on = $("state").dataset.state === "on";
  $("second").hidden = !on || Boolean(second);
  $("actors").hidden = !on || !second;
  $("actor-first").textContent = `as ${user || "nobody"}`;
  $("actor-second").textContent = second?.connected ? `as ${secondUser || "nobody"}` : "connecting…";
}

// Publishing

const me = () => user || "42";
const conversation = () => [...rooms.values()].findLast(({ data }) => data.roomType === "conversation")?.data.roomId ?? "1";
const examples = {
  "message.sent": () => ({ conversationId: conversation(), senderId: "7", recipientId: me(), message: "See you at noon." }),
  "booking.confirmed": () => ({ bookingId: "b-1029", userId: me(), status: "confirmed" }),
  "notification.created": () => ({
    notificationId: "n-311", userId: me(), type: "review", title: "How was your stay?",
    message: "Tell others about it.", data: { bookingId: "b-1029" },
  }),
};
let filled = ""; // what fill has written

function fill(key) {
  filled = JSON.stringify(examples[key](), null, 2);
  $("key").value = key;
  $("body").value = filled;
}

// refill keeps an example that nobody has changed up to date with the session.
function refill() {
  const key = $("key")?.value;
  if (Object.hasOwn(examples, key) && $("body").value === filled) fill(key);
}

async function publish() {
  const key = $("key").value.trim();
  const headers = { "Content-Type": "application/json" };
  if ($("publish-token")) headers.Authorization = `Bearer ${$("publish-token").value}`;
  log.add("sent", `POST ${key}`, bodyOrText($("body").value));
  const began = performance.now();
  let status = "";
  let answer;
  try {
    const response = await fetch(`/events/${encodeURIComponent(key)}`, { method: "POST", headers, body: $("body").value });
    status = response.status;
    answer = bodyOrText(await response.text());
  } catch (e) {
    answer = { error: e.message };
  }
  const good = status === 202;
  log.add(good ? "answer" : "refused", `${status} ${key}`.trim(), answer, performance.now() - began);
  say("published", good
    ? `Accepted for ${answer.rooms} ${answer.rooms === 1 ? "room" : "rooms"}.`
    : [status, answer.reason, answer.error ?? answer].filter(Boolean).join(", "), good);
}

function bodyOrText(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function startPublishing() {
  if (!$("publish")) return; // closed
  for (const key of Object.keys(examples)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = key.split(".")[0];
    button.title = `Fill in ${key}`;
    button.addEventListener("click", () => fill(key));
    $("publish").querySelector(".examples").append(button);
  }
  fill("message.sent");
  onSubmit("publish", publish);
  $("body").addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) $("publish").requestSubmit();
  });
}

function onSubmit(id, act) {
  $(id).addEventListener("submit", (e) => {
    e.preventDefault();
    act();
  });
}

onSubmit("connect", connect);
onSubmit("join", () => join({ roomType: $("room-type").value, roomId: $("room-id").value.trim() }));
onSubmit("refresh", refresh);
onSubmit("second", connectSecond);
$("second-end").addEventListener("click", () => endSecond(""));
$("cut").addEventListener("click", cut);
$("disconnect").addEventListener("click", () => {
  log.add("note", "disconnect", { reason: "asked for here" });
  end("");
});
$("token").addEventListener("input", describeToken);
log.start();
startPublishing();
showRooms();
watch();
