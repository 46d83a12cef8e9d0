// A node:test reporter for js_test.go: one JSON object per line.
export default async function* report(source) {
  for await (const { type, data } of source) {
    const event = /^test:(start|pass|fail)$/.exec(type)?.[1];
    if (!event) continue;
    const cause = data.details?.error?.cause ?? data.details?.error;
    yield JSON.stringify({
      event,
      name: data.name,
      nesting: data.nesting,
      suite: data.details?.type === "suite",
      error: event === "fail" ? String(cause?.stack ?? cause?.message ?? cause) : undefined,
    }) + "\n";
  }
}
