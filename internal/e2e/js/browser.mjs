// Chromium and the console in it, for console.mjs.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";

const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args });

// open shows the console to a user who has not opened it before. complaints
// collects what the browser reports: errors of scripts, failed requests, and
// violations of the page's content security policy.
export async function open(url, options) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000); // on a busy machine Chromium takes ten seconds to start
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(url);
  return { page, complaints };
}

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const choice = (page, name) => page.getByRole("combobox", { name, exact: true });
export const field = (page, label) => page.getByLabel(label, { exact: true });

export async function connect(page) {
  await button(page, "Connect").click();
  await page.locator("#state[data-state=on]").waitFor();
}

export async function join(page, { roomType, roomId, name }) {
  await choice(page, "Type").selectOption(roomType);
  await field(page, "Id").fill(roomId);
  await button(page, "Join").click();
  await field(page, "Rooms joined").getByText(name, { exact: true }).waitFor();
}

// event returns the newest entry with this name in the console's log, expanded.
export async function event(page, kind, name) {
  const entry = page.locator(`#entries > .${kind}`, { has: page.locator("b", { hasText: new RegExp(`^${name}$`) }) }).first();
  await entry.locator("summary").click();
  const body = JSON.parse(await entry.locator("pre").textContent());
  await entry.locator("summary").click();
  return body;
}

export async function fits(page) {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, page.viewportSize().width, "the page is wider than the window");
}

// picture saves a screenshot to the directory SCREENSHOTS, if that is set.
export async function picture(page, name) {
  if (!process.env.SCREENSHOTS) return;
  await mkdir(process.env.SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png` });
}
