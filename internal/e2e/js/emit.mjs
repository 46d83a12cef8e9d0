// The console emits events that the routes file declares.
import { after, it } from "node:test";
import assert from "node:assert/strict";
import { browser, button, choice, connect, event, field, fits, join, open } from "./browser.mjs";
import { connect as client, room, url } from "./world.mjs";

after(() => browser.close());

it("the console emits declared events", async (t) => {
  const { page, complaints } = await open(url, { colorScheme: "light" });
  const here = room();
  const ben = await client(t, "ben");
  await ben.join(here);
  await connect(page);
  await join(page, here);
  await ben.next("user_joined");
  for (const [name, emitted] of [["mark_read", "message_read"], ["reaction", "message_reaction"]]) {
    await choice(page, "Client event").selectOption(name);
    assert.equal(JSON.parse(await field(page, "Data").inputValue()).conversationId, here.roomId);
    await button(page, "Emit").click();
    await page.locator("#entries .answer", { hasText: name }).waitFor();
    const { conversationId, userId, room: where } = await ben.next(emitted);
    assert.deepEqual([conversationId, userId, where], [here.roomId, "42", here.name]);
  }
  await ben.ack("reaction", { conversationId: here.roomId, emoji: "🎉" });
  assert.equal((await event(page, "received", "message_reaction")).userId, "ben");
  await field(page, "Data").fill("{");
  await button(page, "Emit").click();
  await page.locator("#rooms-error", { hasText: "JSON" }).waitFor();
  await fits(page);
  assert.deepEqual(complaints, []);
});
