// Finds as one types.

import * as api from "./api.js";
import { card } from "./view.js";
import { t } from "./words.js";

export function ready(dialog, choose) {
  const input = dialog.querySelector("#search-text"), list = dialog.querySelector("#search-found"), said = dialog.querySelector("#search-said");
  let waiting = null, timer = 0;

  async function run() {
    const text = input.value.trim();
    waiting?.abort();
    if (!text) {
      list.replaceChildren();
      said.textContent = "";
      return;
    }
    waiting = new AbortController();
    try {
      const found = await api.search(text, waiting.signal);
      list.replaceChildren(...found.products.map((one) => card(one, (product) => {
        dialog.close();
        choose(product);
      })));
      const instead = Object.values(found.instead).map((words) => words[0]).join(" ");
      if (!found.products.length) said.textContent = t("search_none", { text });
      else if (instead) said.textContent = t("search_instead", { text: instead });
      else said.textContent = t("search_count", { count: found.products.length });
    } catch (error) {
      if (error.name !== "AbortError") said.textContent = t("offline");
    }
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(run, 90);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") list.querySelector("button")?.focus();
  });
  return () => {
    input.value = "";
    list.replaceChildren();
    said.textContent = "";
    dialog.showModal();
    input.focus();
  };
}
