// The page: from what the camera sees to what is on the screen.

import * as api from "./api.js";
import { Eyes } from "./eyes.js";
import * as keys from "./keys.js";
import * as search from "./search.js";
import * as staff from "./staff.js";
import * as view from "./view.js";
import * as words from "./words.js";
import { t } from "./words.js";

const LEARN_EMPTY_MS = 20000; // an unknown scene in which nothing has moved for so long is the scene without a product
const WORTH_SHOWING = 0.01; // confidence of a runner-up
const $ = (id) => document.getElementById(id);
const stage = $("stage"), answer = $("answer");
let settings = null, eyes = null, state = "", shownSku = "", shownAdvice = "", lastTouch = 0, lastProduct = 0, chosen = false, openSearch = null, redraw = null, blind = null;

function show(next, key) {
  state = next;
  stage.dataset.state = next;
  $("status-text").textContent = t(`status_${key ?? next}`);
}

function speak(text) {
  if ($("live").textContent !== text) $("live").textContent = text;
}

function idle() {
  shownSku = shownAdvice = "";
  chosen = false;
  if (blind) return problem(...blind);
  show("idle");
  view.welcome(answer);
  speak(""); // the same product is said again when it comes again
  redraw = idle;
}

function again() {
  eyes?.forget();
  idle();
  answer.focus();
}

function choose(product, how = "chosen") {
  chosen = true;
  present(product, how, []);
  answer.focus();
}

function present(product, how, others) {
  shownSku = product.sku;
  lastProduct = lastTouch = performance.now();
  show("match");
  const screen = view.found(answer, product, how, others, { choose, again });
  redraw = () => present(product, how, others);
  speak(`${view.title(product)} ${view.price(product.attributes.price)}`);
  api.similar(product.sku).then((found) => {
    const known = new Set(others.slice(0, 3).map((one) => one.sku));
    if (shownSku === product.sku) screen.similar(found.products.filter((one) => !known.has(one.sku)));
  }).catch(() => {});
}

function certainty(found) {
  return found.confidence >= 0.99 ? "certain" : "likely";
}

function heard(found, isEmpty) {
  blind = null;
  if (chosen) return; // what somebody chose stays until they go on, or go
  const coded = found.bar_code?.product;
  if (coded) {
    if (shownSku !== coded.sku) present(coded, "bar_code_found", []);
    lastProduct = performance.now();
    return;
  }
  if (isEmpty) return nothing();
  if (found.decision === "match" && (found.sure || found.frames >= 3)) {
    const [best, ...rest] = found.candidates;
    const others = rest.filter((one) => one.confidence >= WORTH_SHOWING);
    if (shownSku !== best.sku) present(best, certainty(found), others);
    else show("match");
    lastProduct = performance.now();
    return;
  }
  if (found.decision === "unknown" && found.sure) {
    if (eyes.stillFor() > LEARN_EMPTY_MS) {
      eyes.learnEmpty();
      return nothing();
    }
    if (state === "match" && performance.now() - lastProduct < 2500) return;
    if (state !== "unknown" || shownAdvice !== found.advice) unknown(found);
    return;
  }
  if (state === "idle" || state === "offline") show("looking");
}

function unknown(found) {
  shownSku = "";
  shownAdvice = found.advice;
  show("unknown");
  const candidates = found.candidates.filter((one) => one.confidence >= WORTH_SHOWING);
  view.unknown(answer, found.advice, candidates, { choose, search: openSearch, teach: staff.isIn() ? () => staff.open("teach") : null });
  redraw = () => unknown(found);
  speak(`${t("unknown")}. ${found.advice ? t(`advice_${found.advice}`) : ""}`);
}

function nothing() { // before the camera; an answer stays to be read
  blind = null;
  if (state === "match" && performance.now() - Math.max(lastProduct, lastTouch) < settings.idle_seconds * 1000) return show("match");
  if (state !== "idle") idle();
}

function tell(next, draw, key) { // in the place of an answer, which comes anew when it is over, the same one, too
  shownSku = shownAdvice = "";
  chosen = false;
  show(next, key);
  redraw = () => {
    draw();
    speak([...answer.querySelectorAll("h2, p")].map((one) => one.textContent.replace(/\.$/, "")).join(". ") + ".");
  };
  redraw();
}

function problem(key, reason, text = "") {
  blind = [key, reason, text]; // until the camera shows something
  if (chosen || state === "problem") return;
  tell("problem", () => view.message(answer, "camera-off", t("no_camera"), t(key), text || (reason ? t(reason) : "")));
}

function offline() {
  if (state === "offline") return;
  tell("offline", () => view.message(answer, "offline", t("offline"), t("offline_more")), "busy");
}

async function useLanguage(language) {
  await words.load(language);
  $("language").value = words.language();
  show(state || "idle", state === "problem" ? "unknown" : state === "offline" ? "busy" : undefined);
  redraw?.();
  staff.redraw();
}

function leaveWhenNobodyIsThere() {
  staff.leaveAfter(2 * settings.idle_seconds * 1000);
  const quiet = performance.now() - Math.max(lastTouch, lastProduct);
  if (quiet < settings.idle_seconds * 1000) return;
  if (document.querySelector("dialog[open]") && quiet > 2 * settings.idle_seconds * 1000) {
    for (const one of document.querySelectorAll("dialog[open]")) one.close();
    staff.leave();
  }
  if (chosen) again();
}

async function begin() {
  await words.load(words.ofBrowser());
  for (;;) {
    try {
      settings = await api.settings();
      break;
    } catch {
      offline();
      await new Promise((done) => setTimeout(done, 1500));
    }
  }
  document.title = $("title").textContent = settings.title;
  view.useCurrency(settings.currency);
  $("open-staff").hidden = !settings.has_staff;
  $("camera").classList.toggle("mirror", settings.mirror);
  eyes = new Eyes($("video"), $("stream"), settings, { answer: heard, problem, offline, empty: nothing, busy: () => { $("status-text").textContent = t("status_busy"); } });
  openSearch = search.ready($("search"), choose);
  staff.ready($("staff"), eyes, settings, choose);
  keys.ready($("keys"));
  $("open-search").addEventListener("click", openSearch);
  $("open-staff").addEventListener("click", () => staff.open());
  $("language").addEventListener("change", (event) => useLanguage(event.target.value));
  for (const one of document.querySelectorAll("[data-close]")) one.addEventListener("click", () => one.closest("dialog").close());
  for (const event of ["pointerdown", "keydown"]) document.addEventListener(event, () => { lastTouch = performance.now(); }, true);
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches?.("input, select, textarea") || document.querySelector("dialog[open]");
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      openSearch();
    } else if (event.key === "Escape" && !isTyping && state !== "idle") {
      again();
    }
  });
  if (settings.language !== "auto") await useLanguage(settings.language);
  $("language").value = words.language();
  idle();
  setInterval(leaveWhenNobodyIsThere, 1000);
  await eyes.start();
}

begin();
