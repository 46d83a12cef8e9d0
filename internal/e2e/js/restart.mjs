// The console while the gateway restarts, with the JWT secret that it has
// generated.
import { after, it } from "node:test";
import assert from "node:assert/strict";
import { browser, connect, field, join, open } from "./browser.mjs";
import { room, url } from "./world.mjs";

after(() => browser.close());

it("joins its rooms again after a restart of the gateway", async () => {
  const { page } = await open(url);
  await field(page, "User").fill("ann");
  await connect(page);
  await join(page, room());
  const socket = await page.locator("#fact-socket").textContent();
  assert.equal((await fetch(process.env.RESTART_URL)).status, 200);
  await page.waitForFunction((old) => {
    const now = document.getElementById("fact-socket").textContent;
    return document.getElementById("state").dataset.state === "on" && now !== old;
  }, socket);
  await page.locator("#state", { hasText: "Connected as ann" }).waitFor();
  await page.locator("#entries .answer", { hasText: "join_room" }).nth(1).waitFor();
});
