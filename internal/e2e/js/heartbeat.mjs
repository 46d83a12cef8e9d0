import { describe, it } from "node:test";
import { connect, room, within } from "./world.mjs";

describe("a client that answers pings", () => {
  it("stays connected", async (t) => {
    const ann = await connect(t, "ann");
    await ann.join(room());
    await within(
      new Promise((resolve) => {
        let pings = 0;
        ann.socket.io.on("ping", () => ++pings === 30 && resolve()); // 30 pings take longer than pingInterval + pingTimeout
      }),
      "30 pings",
    );
    await ann.join(room());
    ann.nothing();
  });
});
