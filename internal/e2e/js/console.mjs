// Tests of the console in a browser, used as its users do.
import { after, afterEach, beforeEach, describe, it } from "node:test";
import assert from "node:assert/strict";
import { browser, button, choice, connect, event, field, fits, join, open, picture } from "./browser.mjs";
import { connect as client, now, room, token, url } from "./world.mjs";

after(() => browser.close());

const { page, complaints } = await open(url, { colorScheme: "light" });
const eventually = (id, wanted) => page.locator(id, { hasText: wanted }).waitFor();

describe("the console", () => {
  beforeEach(async () => {
    complaints.length = 0;
    await page.setViewportSize({ width: 1200, height: 860 });
    await page.goto(url);
  });
  afterEach(() => assert.deepEqual(complaints, []));

  it("connects, joins, publishes and shows the events", async (t) => {
    await field(page, "User").fill("ann");
    await connect(page);
    await eventually("#state", "Connected as ann");
    assert.equal((await event(page, "received", "connected")).userId, "ann");
    await eventually("#fact-transport", "websocket");

    const here = room();
    await join(page, here);
    assert.equal(JSON.parse(await field(page, "Body").inputValue()).conversationId, here.roomId);
    await button(page, "Publish").click();
    await eventually("#published", "Accepted for 1 room.");
    const message = await event(page, "received", "new_message");
    assert.equal(message.conversationId, here.roomId);
    assert.equal(message.recipientId, "ann");

    for (const [example, key, emitted] of [
      ["booking", "booking.confirmed", "booking_update"],
      ["notification", "notification.created", "new_notification"],
    ]) {
      await button(page, example).click();
      assert.equal(await field(page, "Event").inputValue(), key);
      await field(page, "Body").press("Control+Enter");
      await event(page, "received", emitted);
    }
    await page.locator("#spoken", { hasText: "Received" }).waitFor({ state: "attached" });
  });

  it("sends typing and shows who types", async (t) => {
    const here = room();
    const ben = await client(t, "ben");
    await ben.join(here);
    await connect(page);
    await join(page, here);
    assert.equal((await ben.next("user_joined")).userId, "42");

    await ben.ack("typing", here.data);
    assert.equal((await event(page, "received", "user_typing")).userId, "ben");
    await button(page, `typing, ${here.name}`).click();
    assert.equal((await ben.next("user_typing")).userId, "42");
    await button(page, `stop, ${here.name}`).click();
    await ben.next("user_stop_typing");
    await button(page, `leave, ${here.name}`).click();
    await ben.next("user_left");
    await eventually("#rooms-empty", "user:42");
    await button(page, "Disconnect").click();
    await eventually("#state", "Not connected");
  });

  it("recovers events published while its connection was cut", async () => {
    await connect(page);
    const here = room();
    await join(page, here);
    await button(page, "Cut connection").click();
    await eventually("#state", "Connection cut here");
    await button(page, "Publish").click();
    await eventually("#published", "Accepted for");
    await button(page, "Come back").click();
    await eventually("#state", "Connected as 42");
    await eventually("#fact-recovered", "yes");
    assert.equal((await event(page, "received", "new_message")).conversationId, here.roomId);
    assert.equal((await event(page, "received", "room_state")).room, here.name);
  });

  it("draws live figures", async (t) => {
    const connections = page.locator(".figure", { hasText: "Connections" });
    const show = (n) => connections.locator("output", { hasText: new RegExp(`^${n}$`) }).waitFor();
    const line = () => connections.locator(".stroke").getAttribute("d");
    await show(0);
    const flat = await line();
    const here = room();
    const crowd = await Promise.all(["a", "b", "c"].map((user) => client(t, user)));
    for (const one of crowd) await one.join(here);
    const typing = setInterval(() => crowd[0].socket.emit("typing", here.data), 20);
    t.after(() => clearInterval(typing));
    await show(3);
    assert.notEqual(await line(), flat);
    await page.waitForFunction(() => [...document.querySelectorAll(".figure")]
      .filter((tile) => /Events in|Deliveries/.test(tile.textContent))
      .every((tile) => Number(tile.querySelector("output").textContent) > 5));
  });

  it("shows figures again after invalid responses", async () => {
    const path = "**/console/figures";
    await page.route(path, (route) => route.fulfill({ contentType: "application/json", body: "{" }));
    await eventually("#figures-error", "the gateway does not answer");
    await page.unroute(path);
    await page.locator("#figures-error").waitFor({ state: "hidden" });
    await page.locator("#figure-list:not(.stale)").waitFor();
  });

  it("shows why a client is refused", async () => {
    await choice(page, "Transport").selectOption("websocket");
    await field(page, "Token").fill(token({ id: "ann", exp: now() - 60 }));
    await eventually("#claims", "user ann, ended");
    await button(page, "Connect").click();
    await eventually("#connect-error", "Authentication error: jwt expired");
    await eventually("#state", "Not connected");
    assert.equal((await event(page, "refused", "connect_error")).message, "Authentication error: jwt expired");
  });

  it("shows why an event is refused", async () => {
    await field(page, "Event").fill("message.sent");
    await field(page, "Body").fill("{ no JSON");
    await button(page, "Publish").click();
    await eventually("#published", "400, not_json");
    assert.match(complaints.splice(0).join(), /^Failed to load resource: .* 400 \(Bad Request\)$/); // the browser reports the failed requests
  });

  it("keeps the newest 500 events, and finds some among them", async (t) => {
    const here = room();
    await connect(page);
    await join(page, here);
    const ben = await client(t, "ben");
    for (let i = 0; i < 300; i++) {
      await ben.join(here);
      await ben.ack("leave_room", here.data);
    }
    await eventually("#count", /newest 500 of 60\d/);
    assert.equal(await page.locator("#entries > li").count(), 500);
    await field(page, "Filter events by name or body").fill("USER_left");
    await eventually("#count", "250 of 500 shown");
    await field(page, "Filter events by name or body").fill("nothing like it");
    await eventually("#entries-empty", "No event matches the filter.");
    await field(page, "Filter events by name or body").fill("");
    await button(page, "Pause").click();
    await ben.join(here);
    await eventually("#count", "1 waiting");
    await button(page, "Clear").click();
    await eventually("#entries-empty", "Nothing yet.");
  });

  it("is in its rooms again after the connection was lost", async (t) => {
    let cut;
    await page.routeWebSocket(/socket\.io/, (socket) => {
      const server = socket.connectToServer();
      cut = () => {
        server.close();
        socket.close();
      };
    });
    await page.goto(url);
    await choice(page, "Transport").selectOption("websocket");
    await connect(page);
    const here = room();
    await join(page, here);
    const ben = await client(t, "ben");
    await ben.join(here);
    await cut();
    await eventually("#fact-recovered", "yes");
    await eventually("#state", "Connected as 42");
    await button(page, `typing, ${here.name}`).click();
    await ben.next("user_typing"); // no user_left came before it
  });

  it("can be used with the keyboard alone", async () => {
    await field(page, "User").focus();
    await page.keyboard.press("Enter");
    await page.locator("#state[data-state=on]").waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.id);
    assert.equal(await focused(), "Disconnect");
    for (const expected of ["Refresh token", null, "room-id"]) {
      await page.keyboard.press("Tab");
      if (expected) assert.equal(await focused(), expected);
    }
    await page.keyboard.press("Enter");
    await field(page, "Rooms joined").getByText("conversation:1", { exact: true }).waitFor();
    for (let i = 0; i < 20 && (await page.evaluate(() => document.activeElement.tagName)) !== "SUMMARY"; i++) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.locator("details[open] pre").waitFor();
  });

  it("explains its figures by key and by touch", async () => {
    for (const name of ["Waiting", "Loop turn age"]) {
      const tile = page.locator(".figure", { hasText: name });
      const about = button(tile, name);
      await about.focus();
      await page.keyboard.press("Enter");
      assert.equal(await about.getAttribute("aria-expanded"), "true");
      await tile.locator(".explanation").waitFor({ state: "visible" });
      await about.click();
      await tile.locator(".explanation").waitFor({ state: "hidden" });
    }
  });

  it("has a second user, who sees the first type", async () => {
    const here = room();
    await field(page, "User").fill("ann");
    await connect(page);
    await join(page, here);
    await field(page, "Second user").fill("ben");
    await page.locator("#second button").click();
    await eventually("#actor-second", "as ben");
    await page.locator("#entries .answer", { hasText: "join_room by ben" }).waitFor();
    await button(page, `typing, ${here.name}`).click();
    assert.equal((await event(page, "received", "user_typing to ben")).userId, "ann");
    await page.locator("[name=actor][value=second]").check();
    await button(page, `typing, ${here.name}`).click();
    assert.equal((await event(page, "received", "user_typing")).userId, "ben");
    await button(page, `leave, ${here.name}`).click();
    assert.equal((await event(page, "received", "user_left")).userId, "ben");
    await button(page, "End second user").click();
    await page.locator("#second").waitFor({ state: "visible" });
    await eventually("#state", "Connected as ann");
  });

  it("refreshes its token, on request and by itself", async () => {
    await field(page, "User").fill("ann");
    await field(page, "Token").fill(token({ id: "ann", exp: now() + 20 })); // the warning comes at 80 % of that
    await connect(page);
    await page.locator("#entries .received", { hasText: "token_expiring_soon" }).waitFor();
    await eventually("#refreshed", "Refreshed.");
    const until = await page.locator("#fact-token").textContent();
    assert.match(until, /^until /);
    await button(page, "Refresh token").click();
    await page.locator("#entries .answer", { hasText: "refresh_token" }).nth(1).waitFor();
    assert.ok(!(await page.locator("#entries").textContent()).includes("eyJ"), "the log shows a token");
  });

  it("explains the likely cause of an error without details", async () => {
    await page.route(/socket\.io\/\?/, (route) => route.abort());
    await button(page, "Connect").click();
    await eventually("#connect-error", "xhr poll error: the gateway does not answer here. Most likely");
    await button(page, "Stop trying").click();
    await page.unroute(/socket\.io\/\?/);
    complaints.length = 0; // the browser reports the failed requests
  });

  it("shows that rows open, and cuts no text at 1280", async () => {
    await page.setViewportSize({ width: 1280, height: 860 });
    const here = room();
    await connect(page);
    await join(page, here);
    await button(page, "Publish").click();
    await eventually("#published", "Accepted");
    const sign = page.locator("#entries summary time").first();
    assert.match(await sign.evaluate((time) => getComputedStyle(time, "::before").content), /▸/);
    // An opened row shows what the preview of a body leaves out.
    const cut = await page.evaluate(() => [...document.querySelectorAll("body *")]
      .filter((e) => e.checkVisibility() && !e.closest(".spoken, summary code, .summary code, svg, textarea, template"))
      .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible" && e.textContent.trim() !== "" && !e.matches(".scroll"))
      .map((e) => `${e.tagName} ${e.id} ${e.textContent.trim().slice(0, 40)}`));
    assert.deepEqual(cut, []);
    await picture(page, "desktop-1280");
  });

  it("fits on a phone and a desktop, in light and dark mode", async (t) => {
    const here = room();
    await connect(page);
    await join(page, here);
    await field(page, "Body").fill(JSON.stringify({ conversationId: here.roomId, message: "x".repeat(5000) }));
    await button(page, "Publish").click();
    await eventually("#published", "Accepted");
    await page.locator("#entries .received summary").first().click();
    const grounds = new Set();
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      for (const [device, width] of [["desktop", 1200], ["phone", 360]]) {
        await page.setViewportSize({ width, height: 780 });
        await fits(page);
        await picture(page, `${device}-${scheme}`);
      }
    }
    assert.equal(grounds.size, 2);
    await page.emulateMedia({ colorScheme: "light" });
  });
});

describe("the console on a phone", () => {
  it("can be used by touch, with the events one touch away", async () => {
    const { page, complaints } = await open(url, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    await button(page, "Connect").tap();
    await page.locator("#state[data-state=on]").waitFor();
    await join(page, room());
    await field(page, "Second user").waitFor();
    await page.locator("#latest", { hasText: "join_room" }).waitFor();
    const small = await page.evaluate(() => [...document.querySelectorAll("a, button, input:not([type=radio]), select, textarea, summary, #actors label")]
      .filter((e) => e.checkVisibility())
      .map((e) => ({ name: `${e.tagName} ${e.id || e.textContent.trim()}`, ...e.getBoundingClientRect().toJSON() }))
      .filter(({ width, height }) => height < 43.5 || width < 43.5)
      .map(({ name, width, height }) => `${name}: ${width} by ${height}`));
    assert.deepEqual(small, []);
    // From anywhere on the page, and nothing covers the form meanwhile.
    await field(page, "Body").scrollIntoViewIfNeeded();
    const over = await page.evaluate(() => {
      const body = document.getElementById("body").getBoundingClientRect();
      const top = document.elementFromPoint(body.x + body.width / 2, body.y + body.height / 2);
      return top.id;
    });
    assert.equal(over, "body");
    await page.locator("#jump").getByRole("link", { name: "Events" }).tap();
    await page.waitForFunction(() => {
      const { top } = document.getElementById("log").getBoundingClientRect();
      return top >= 0 && top < innerHeight / 2;
    });
    await fits(page);
    await picture(page, "phone-events");
    assert.deepEqual(complaints, []);
  });
});

describe("the console in production", () => {
  it("asks for a password, and accepts a token of the platform and PUBLISH_TOKEN", async () => {
    const { GUARDED_URL, CONSOLE_TOKEN, PUBLISH_TOKEN } = process.env;
    const { page, complaints } = await open(GUARDED_URL, { httpCredentials: { username: "anybody", password: CONSOLE_TOKEN } });
    assert.equal(await field(page, "User").count(), 0);
    await page.locator(".figure .stroke[d]").first().waitFor({ state: "attached" }); // METRICS_TOKEN or not
    await field(page, "Token").fill(token({ id: "ann" }));
    await connect(page);
    await page.locator("#state", { hasText: "Connected as ann" }).waitFor();
    await page.locator("#fact-transport", { hasText: "websocket" }).waitFor();
    const here = room();
    await join(page, here);
    await field(page, "PUBLISH_TOKEN").fill(PUBLISH_TOKEN);
    await button(page, "Publish").click();
    await page.locator("#published", { hasText: "Accepted for 1 room." }).waitFor();
    assert.equal((await event(page, "received", "new_message")).conversationId, here.roomId);
    assert.deepEqual(complaints, []);
  });
});
