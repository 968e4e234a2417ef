// What the page says, in one file a language; a word that a file lacks comes in English.

export const LANGUAGES = ["en", "de", "zh"];
const known = { en: {} };
let current = "en";

export async function load(language) {
  const wanted = LANGUAGES.includes(language) ? language : "en";
  for (const name of new Set(["en", wanted])) {
    if (!Object.keys(known[name] ?? {}).length) {
      try {
        known[name] = await (await fetch(`/page/${name}.json`)).json();
      } catch {
        known[name] = {};
      }
    }
  }
  current = wanted;
  document.documentElement.lang = current === "zh" ? "zh-Hans" : current;
  for (const one of document.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of document.querySelectorAll("[data-t-label]")) one.setAttribute("aria-label", t(one.dataset.tLabel));
  for (const one of document.querySelectorAll("[data-t-placeholder]")) one.placeholder = t(one.dataset.tPlaceholder);
}

export function language() {
  return current;
}

export function ofBrowser() {
  for (const one of navigator.languages ?? []) {
    const short = one.slice(0, 2).toLowerCase();
    if (LANGUAGES.includes(short)) return short;
  }
  return "en";
}

export function t(key, values = {}) {
  const text = known[current]?.[key] ?? known.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
