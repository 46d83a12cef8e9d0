// Reads notepack messages as hex lines. For each it prints what a Node server
// would send its clients, the packet's parts in hex, or "error".
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Encoder } from "socket.io-parser";
const require = createRequire(import.meta.resolve("redis-adapter-8"));
const { decode } = require("notepack.io");
const encoder = new Encoder();
for await (const line of createInterface({ input: process.stdin })) {
  let answer = "error";
  try {
    const data = decode(Buffer.from(line, "hex"));
    answer = encoder
      .encode({ type: 2, nsp: "/", data: [data] })
      .map((part) => Buffer.from(part).toString("hex"))
      .join(" ");
  } catch {}
  console.log(answer);
}
