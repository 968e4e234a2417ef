// What is on the screen. Texts from elsewhere are always text nodes, never markup.

import { t, language } from "./words.js";

let currency = "";

export function useCurrency(code) {
  currency = code;
}

export function el(name, props = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") made.className = value;
    else if (key === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function price(text) {
  if (!text) return "";
  const parts = /^(\d+)(?:[.,](\d+))?$/.exec(text.trim());
  if (!currency || !parts) return text;
  const format = new Intl.NumberFormat(language(), { style: "currency", currency });
  const cents = parts[2] ?? "";
  // 1,299 may be one thousand two hundred: what has more decimals than its currency is shown as it was written.
  if (cents.length > format.resolvedOptions().maximumFractionDigits && !/^00?$/.test(cents)) return text;
  return format.format(Number(`${parts[1]}.${cents || 0}`));
}

export function title(product) {
  return product.name || product.sku;
}

export function picture(product) {
  const box = el("div", { class: "picture" });
  const letters = title(product).split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("");
  const instead = el("span", { class: "letters", ariaHidden: "true" }, letters.toUpperCase());
  if (!product.picture) {
    box.append(instead);
  } else {
    box.append(el("img", { alt: "", decoding: "async", src: product.picture, on: { error: (event) => event.target.replaceWith(instead) } }));
  }
  return box;
}

export function card(product, choose) {
  const cost = price(product.attributes.price);
  return el("li", {}, el("button", { class: "card", type: "button", on: { click: () => choose(product) } },
    picture(product), el("b", {}, title(product)), cost ? el("span", {}, cost) : null));
}

function facts(product) {
  const shown = Object.entries(product.attributes).filter(([key, value]) => value && !["price", "gtin"].includes(key)).slice(0, 4);
  return el("ul", { class: "facts" }, ...shown.map(([, value]) => el("li", {}, value)),
    product.attributes.gtin ? el("li", {}, product.attributes.gtin) : null);
}

function replace(where, ...panels) {
  where.replaceChildren(...panels.filter(Boolean));
  where.scrollTop = 0;
}

export function welcome(where) {
  const step = (name, key) => el("li", {}, el("span", { class: "badge" }, icon(name)), t(key));
  replace(where, el("div", { class: "panel welcome arrive" }, el("h2", {}, t("welcome")), el("p", {}, t("welcome_more")),
    el("ul", { class: "steps" }, step("hand", "step_hold"), step("light", "step_light"), step("search", "step_search"))));
}

export function message(where, name, head, more, extra) {
  replace(where, el("div", { class: "panel welcome arrive" },
    el("div", { class: "unknown-head" }, el("span", { class: "badge warn" }, icon(name)), el("h2", {}, head)),
    el("p", {}, more), extra ? el("p", { class: "problem" }, extra) : null));
}

export function found(where, product, how, others, actions) {
  const cost = price(product.attributes.price);
  const main = el("div", { class: "panel arrive", id: "found" }, el("div", { class: "product" }, picture(product), el("div", {},
    el("span", { class: "sure" }, icon("check"), t(how)),
    el("h2", { class: "name" }, title(product)),
    cost ? el("p", { class: "price" }, cost) : null, facts(product),
    actions.again ? el("div", { class: "actions" }, el("button", { class: "button", type: "button", on: { click: actions.again } }, t("again"))) : null)));
  const row = (key, products) => products.length
    ? el("div", { class: "panel arrive" }, el("h3", {}, t(key)), el("ul", { class: "cards row" }, ...products.slice(0, 3).map((one) => card(one, actions.choose))))
    : null;
  const more = el("div", { class: "panel arrive", id: "similar", hidden: true });
  replace(where, main, row("did_you_mean", others), more);
  return {
    similar(products) {
      if (!products.length) return;
      more.replaceChildren(el("h3", {}, t("similar")), el("ul", { class: "cards row" }, ...products.slice(0, 3).map((one) => card(one, actions.choose))));
      more.hidden = false;
    },
  };
}

export function unknown(where, advice, candidates, actions) {
  const help = advice ? el("p", { class: "advice" }, icon(advice === "too dark" ? "light" : advice === "turn" ? "turn" : "hand"), el("span", {}, t(`advice_${advice}`))) : null;
  replace(where, el("div", { class: "panel arrive", id: "unknown" },
    el("div", { class: "unknown-head" }, el("span", { class: "badge warn" }, icon("question")), el("h2", { class: "big-said" }, t("unknown"))),
    help, el("p", { class: "said" }, t("unknown_more")),
    el("div", { class: "actions" },
      el("button", { class: "button main", type: "button", on: { click: actions.search } }, icon("search"), t("search")),
      actions.teach ? el("button", { class: "button", type: "button", on: { click: actions.teach } }, icon("plus"), t("teach")) : null)),
  candidates.length ? el("div", { class: "panel arrive" }, el("h3", {}, t("maybe")), el("ul", { class: "cards row" }, ...candidates.slice(0, 3).map((one) => card(one, actions.choose)))) : null);
}
