// Validates the documents of a gateway's console: AsyncAPI against its authors'
// schema, OpenAPI against the schema of its specification.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";
import { test } from "node:test";
import Ajv from "ajv";
import formats from "ajv-formats";
import { Validator } from "@seriousme/openapi-schema-validator";
import { url } from "./world.mjs";

const load = async (name) => (await fetch(`${url}/console/${name}`)).json();

test("the AsyncAPI document is valid", async () => {
  const path = createRequire(import.meta.url).resolve("@asyncapi/specs/schemas/3.0.0-without-$id.json");
  const ajv = new Ajv({ strict: false, validateSchema: false, allErrors: true });
  formats(ajv);
  const validate = ajv.compile(JSON.parse(readFileSync(path)));
  assert.ok(validate(await load("asyncapi.json")), JSON.stringify(validate.errors?.slice(0, 5), null, 1));
});

test("the OpenAPI document is valid", async () => {
  const { valid, errors } = await new Validator().validate(await load("openapi.json"));
  assert.ok(valid, JSON.stringify(errors));
});
