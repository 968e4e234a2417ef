"use strict";
const at = (id) => document.getElementById(id);
let plan, stamp, chosen = 0, held = null;
const slots = () => plan.planogram.positions;

async function begin() {
  const response = await fetch("/plan.json");
  const answer = await response.json();
  if (!response.ok) {
    at("said").textContent = answer.message;
    return;
  }
  stamp = response.headers.get("ETag"); // of the plan that is edited: one that was changed meanwhile isn't overwritten
  plan = answer.plan;
  at("title").textContent = plan.name || "Edit a plan";
  at("skus").replaceChildren(...answer.skus.map((sku) => Object.assign(document.createElement("option"), { value: sku })));
  at("draw").setAttribute("viewBox", `0 0 ${plan.photo.width} ${plan.photo.height}`);
  show();
}

function element(name, fields) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(fields)) made.setAttribute(key, value);
  return made;
}

function show() {
  at("slot").replaceChildren(...slots().map((one, n) => new Option(`${one.id} ${one.productId || "?"}`, n, false, n === chosen)));
  const one = slots()[chosen];
  for (const key of ["productId", "facings", "minStock"]) at(key).value = one[key];
  draw();
}

function draw() {
  const parts = [];
  slots().forEach((one, number) => {
    if (!one.polygon) return;
    const kind = [one.productId ? "" : "unnamed", number === chosen ? "chosen" : ""].join(" ").trim();
    const shape = element("polygon", { points: one.polygon.map((c) => c.join(",")).join(" "), class: kind });
    shape.addEventListener("pointerdown", () => { chosen = number; show(); });
    parts.push(shape);
  });
  (slots()[chosen].polygon || []).forEach((corner, number) => {
    const dot = element("circle", { cx: corner[0], cy: corner[1], r: plan.photo.width / 130 });
    dot.addEventListener("pointerdown", (event) => {
      held = number;
      event.preventDefault();
      at("draw").setPointerCapture(event.pointerId); // also when the corner is drawn anew under a finger, or left behind
    });
    parts.push(dot);
  });
  at("draw").replaceChildren(...parts);
}

at("draw").addEventListener("pointermove", (event) => {
  if (held === null) return;
  const box = at("draw").getBoundingClientRect();
  const limit = (value, most) => Math.round(Math.min(Math.max(value, 0), most) * 10) / 10;
  slots()[chosen].polygon[held] = [
    limit((event.clientX - box.left) / box.width * plan.photo.width, plan.photo.width),
    limit((event.clientY - box.top) / box.height * plan.photo.height, plan.photo.height),
  ];
  draw();
});
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => { held = null; });
at("slot").addEventListener("change", (event) => { chosen = Number(event.target.value); show(); });
at("productId").addEventListener("change", (event) => { slots()[chosen].productId = event.target.value.trim(); show(); });
for (const key of ["facings", "minStock"]) {
  at(key).addEventListener("change", (event) => { slots()[chosen][key] = Number(event.target.value); });
}
// Where a new slot fits beside the others, as large as they are or smaller; in the middle where there is no room.
function freePlace() {
  const { width, height } = plan.photo;
  const boxes = slots().filter((one) => one.polygon).map(({ polygon }) => {
    const [x, y] = [0, 1].map((axis) => polygon.map((corner) => corner[axis]));
    return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
  });
  const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const wide = middle(boxes.map((b) => b[2] - b[0])) || width * .15, high = middle(boxes.map((b) => b[3] - b[1])) || height * .2;
  for (const part of [1, .7, .5, .35, .25]) {
    for (let y = 0; y + high * part <= height; y += height / 60) {
      for (let x = 0; x + wide * part <= width; x += width / 60) {
        if (!boxes.some((b) => x < b[2] && x + wide * part > b[0] && y < b[3] && y + high * part > b[1])) {
          return [x, y, x + wide * part, y + high * part];
        }
      }
    }
  }
  return [.4 * width, .4 * height, .55 * width, .6 * height];
}
at("add").addEventListener("click", () => {
  const [left, top, right, bottom] = freePlace().map(Math.round);
  const box = [[left, top], [right, top], [right, bottom], [left, bottom]];
  let number = slots().length + 1;
  while (slots().some((one) => one.id === `s${number}`)) number += 1;
  slots().push({ id: `s${number}`, productId: "", facings: 1, minStock: 1, polygon: box });
  chosen = slots().length - 1;
  show();
});
at("remove").addEventListener("click", () => {
  if (slots().length < 2) return;
  slots().splice(chosen, 1);
  chosen = 0;
  show();
});
at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!plan) return;
  const body = JSON.stringify(plan);
  try {
    const headers = { "Content-Type": "application/json", "If-Match": stamp };
    const answer = await fetch("/plan.json", { method: "PUT", headers, body });
    if (answer.ok) stamp = answer.headers.get("ETag");
    at("said").textContent = answer.headers.get("Content-Type") === "application/json"
      ? (await answer.json()).message : `not saved: ${answer.statusText}`;
  } catch {
    at("said").textContent = "not saved: shelfmatch shelf edit has ended; start it again and save once more";
  }
});
begin();
