// For staff: teach a product with three photos, correct it, remove it, look through what was unknown. The code stays in memory.

import * as api from "./api.js";
import { card, el, icon, picture, price, title } from "./view.js";
import { t } from "./words.js";

const SIDES = ["front", "back", "side"];
let dialog = null, body = null, eyes = null, settings = null, show = null, staff = null, screen = "", product = null, shots = [], tracks = [], used = 0;

const $ = (id) => document.getElementById(id);

export function ready(box, theEyes, theSettings, choose) {
  [dialog, body, eyes, settings, show] = [box, $("staff-body"), theEyes, theSettings, choose];
  $("staff-back").addEventListener("click", () => go("menu"));
  for (const event of ["pointerdown", "keydown"]) dialog.addEventListener(event, () => { used = performance.now(); }, true);
  dialog.addEventListener("close", () => {
    stopFinder();
    eyes.isPaused = false;
    eyes.forget();
  });
}

export const isIn = () => staff !== null;

export function leaveAfter(quiet) { // without a touch of staff's own: shoppers' don't count, and closing the sheet signs nobody out
  if (!isIn() || performance.now() - used < quiet) return;
  leave();
  if (dialog.open) dialog.close();
}

export function leave() {
  staff = null;
  shots = [];
}

export function open(name = "menu") {
  if (!dialog.open) dialog.showModal();
  eyes.isPaused = true;
  go(staff ? name : "enter");
}

export function redraw() {
  if (dialog?.open && screen !== "teach") go(screen);
}

function go(name, more) {
  stopFinder();
  screen = name;
  $("staff-back").hidden = name === "enter" || name === "menu";
  $("staff-title").textContent = t({ teach: "teach", manage: "manage", unknown: "unknown_today", edit: "edit" }[name] ?? "staff_title");
  SCREENS[name](more);
  body.querySelector("[autofocus], input, button")?.focus();
}

function said(text, isBad = false) {
  const line = body.querySelector(".said");
  line.textContent = text;
  line.classList.toggle("bad", isBad);
}

const line = () => el("p", { class: "said whole", role: "status" });

function field(id, key, more = {}) {
  return el("label", { class: `field ${more.whole ? "whole" : ""}` }, el("span", {}, t(key)),
    el("input", { id, autocomplete: "off", spellcheck: false, maxLength: more.most ?? 200, value: more.value ?? "", type: more.type ?? "text", inputMode: more.mode ?? "text" }));
}

function keyboard(id) {
  return el("button", { class: "button", type: "button", "data-keys": id }, icon("keyboard"), t("keyboard"));
}

const SCREENS = {
  enter() {
    const enter = async (event) => {
      event.preventDefault();
      const code = $("staff-code").value.trim();
      if (!code) return;
      const tried = api.staff(code);
      try {
        await tried.enter();
        staff = tried;
        go("menu");
      } catch (error) {
        said(t(error.status === 429 ? "staff_pause" : error.status === 401 ? "staff_wrong" : "problem", { text: error.message }), true);
      }
    };
    body.replaceChildren(el("form", { class: "form", on: { submit: enter } }, field("staff-code", "staff_code", { whole: true, type: "password", most: 64 }), line(),
      el("div", { class: "actions whole" }, el("button", { class: "button main", type: "submit" }, t("staff_enter")), keyboard("staff-code"))));
  },

  menu() {
    const entry = (name, sign, key) => el("li", {}, el("button", { class: "card", type: "button", on: { click: () => go(name) } },
      el("span", { class: "badge" }, icon(sign)), el("b", {}, t(key)), el("span", {}, t(`${key}_more`))));
    body.replaceChildren(el("ul", { class: "menu" }, entry("teach", "plus", "teach"), entry("manage", "list", "manage"),
      settings.keeps_unknowns ? entry("unknown", "question", "unknown_today") : null),
    el("div", { class: "actions" }, el("button", { class: "button", type: "button", on: { click: () => { leave(); dialog.close(); } } }, t("staff_out"))));
  },

  teach() {
    shots = [];
    const finder = el("div", { class: `finder ${settings.mirror ? "mirror" : ""}` });
    const guide = el("p", { class: "said", role: "status" });
    const boxes = SIDES.map((side) => el("div", { class: "shot" }, t(`shot_${side}`)));
    const take = el("button", { class: "button main", type: "button", autofocus: true, on: { click: () => shoot(boxes, guide, take, finder) } }, icon("plus"), t("shot_take"));
    const restart = el("button", { class: "button", type: "button", on: { click: () => retake(boxes, guide, take) } }, t("shot_again"));
    const form = el("form", { class: "form", on: { submit: save } }, field("teach-name", "name", { whole: true }), field("teach-price", "price", { most: 40, mode: "decimal" }),
      field("teach-category", "category", { most: 100 }), field("teach-gtin", "bar_code", { whole: true, most: 32, mode: "numeric" }), line(),
      el("div", { class: "actions whole" }, el("button", { class: "button main", type: "submit", id: "teach-save" }, t("save")), keyboard("teach-name")));
    body.replaceChildren(el("div", { class: "teach" }, el("div", {}, finder, guide, el("div", { class: "shots" }, ...boxes), el("div", { class: "actions" }, take, restart)), form));
    startFinder(finder);
    point(boxes, guide);
  },

  async manage() {
    const waiting = line();
    body.replaceChildren(waiting);
    try {
      const found = await staff.taught();
      if (!waiting.isConnected) return; // staff went on meanwhile
      const list = el("ul", { class: "cards" }, ...found.products.map((one) => card(one, (chosen) => go("edit", chosen))));
      body.replaceChildren(line(), list);
      if (!found.products.length) said(t("nothing_taught"));
    } catch (error) {
      if (waiting.isConnected) said(t("problem", { text: error.message }), true);
    }
  },

  edit(chosen) {
    product = chosen ?? product;
    const change = async (event) => {
      event.preventDefault();
      const attributes = { name: $("edit-name").value, price: $("edit-price").value, category: $("edit-category").value };
      if (!attributes.name.trim()) return said(t("need_name"), true);
      await tried(async () => {
        product = await staff.change(product.sku, attributes);
        said(t("saved", { name: title(product) }));
      });
    };
    const remove = async () => {
      if (!remove.isSure) {
        remove.isSure = true;
        said(t("remove_sure", { name: title(product) }), true);
        return;
      }
      await tried(async () => {
        await staff.remove(product.sku);
        await go("manage");
      });
    };
    const { attributes } = product;
    body.replaceChildren(el("div", { class: "teach" }, el("div", {}, picture(product), el("p", {}, product.sku), el("p", {}, price(attributes.price))),
      el("form", { class: "form", on: { submit: change } }, field("edit-name", "name", { whole: true, value: product.name }), field("edit-price", "price", { value: attributes.price ?? "", most: 40 }),
        field("edit-category", "category", { value: attributes.category ?? "", most: 100 }), line(),
        el("div", { class: "actions whole" }, el("button", { class: "button main", type: "submit" }, t("save")),
          el("button", { class: "button bad", type: "button", on: { click: remove } }, icon("bin"), t("remove")), keyboard("edit-name")))));
  },

  async unknown() {
    const waiting = line();
    body.replaceChildren(waiting);
    await tried(async () => {
      const found = await staff.unknown();
      const crops = await Promise.all(found.crops.slice(0, 40).map((one) => staff.crop(one.picture)));
      if (!waiting.isConnected) return crops.forEach((src) => URL.revokeObjectURL(src));
      const list = el("ul", { class: "cards" }, ...crops.map((src, at) => el("li", {}, el("div", { class: "card" }, el("div", { class: "picture" }, el("img", { src, alt: "", on: { load: shown } })),
        el("span", {}, new Date(found.crops[at].taken).toLocaleString(document.documentElement.lang))))));
      const all = el("button", { class: "button bad", type: "button", on: { click: () => tried(async () => { await staff.forgetUnknown(); go("unknown"); }) } }, icon("bin"), t("delete_all"));
      body.replaceChildren(line(), list, crops.length ? el("div", { class: "actions" }, all) : "");
      if (!crops.length) said(t(found.kept ? "no_unknown" : "not_kept"));
    });
  },
};

async function tried(act) {
  try {
    await act();
  } catch (error) {
    if (error.status === 401) {
      leave();
      go("enter");
    } else said(t("problem", { text: error.message }), true);
  }
}

function point(boxes, guide) {
  boxes.forEach((box, at) => box.classList.toggle("now", at === shots.length));
  guide.textContent = shots.length < SIDES.length ? t(`shot_hold_${SIDES[shots.length]}`) : "";
}

function retake(boxes, guide, take) { // what was typed stays
  shots = [];
  for (const box of boxes) box.querySelector("img")?.remove();
  const code = $("teach-gtin");
  if (code.dataset.scanned === code.value) code.value = ""; // of a photo that is gone
  take.disabled = false;
  point(boxes, guide);
}

const shown = (event) => URL.revokeObjectURL(event.target.src); // a page that runs for weeks would keep every photo

async function shoot(boxes, guide, take, finder) {
  if (shots.length >= SIDES.length) return;
  const photo = await eyes.photo(1280, 0.92);
  if (!photo) return;
  finder.classList.remove("flash");
  void finder.offsetWidth;
  finder.classList.add("flash");
  boxes[shots.length].append(el("img", { src: URL.createObjectURL(photo), alt: "", on: { load: shown } }));
  shots.push(photo);
  point(boxes, guide);
  take.disabled = shots.length >= SIDES.length;
  if (take.disabled) $("teach-name").focus();
  if (settings.has_bar_codes && !$("teach-gtin").value) {
    api.match(photo, `staff-${Date.now()}`, true).then((found) => {
      const field = $("teach-gtin");
      if (field && !field.value && found.bar_code) field.value = field.dataset.scanned = found.bar_code.text;
    }).catch(() => {});
  }
}

async function save(event) {
  event.preventDefault();
  const name = $("teach-name").value.trim();
  if (!name) return said(t("need_name"), true);
  if (!shots.length) return said(t("need_photo"), true);
  const form = new FormData();
  shots.forEach((photo, at) => form.append("photos", photo, `${SIDES[at]}.jpg`));
  for (const key of ["name", "price", "category", "gtin"]) {
    const value = $(`teach-${key}`).value.trim();
    if (value) form.append(key, value);
  }
  $("teach-save").disabled = true;
  said(t("saving"));
  await tried(async () => {
    const done = await staff.teach(form);
    shots = [];
    dialog.close();
    show(done.product, "learnt");
  });
  if ($("teach-save")) $("teach-save").disabled = false;
}

function startFinder(finder) {
  if (!eyes.isDevice && eyes.video.srcObject) {
    const video = el("video", { muted: true, playsInline: true, autoplay: true, ariaHidden: "true" });
    video.srcObject = eyes.video.srcObject;
    tracks.push(() => { video.srcObject = null; });
    finder.append(video);
    return;
  }
  const canvas = el("canvas", { width: 640, height: 480, ariaHidden: "true" });
  const timer = setInterval(() => { if (eyes.size()[0]) canvas.getContext("2d").drawImage(eyes.source(), 0, 0, 640, 480); }, 100);
  tracks.push(() => clearInterval(timer));
  finder.append(canvas);
}

function stopFinder() {
  for (const stop of tracks.splice(0)) stop();
}
