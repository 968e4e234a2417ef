// A keyboard on the screen, for screens without one.

import { el, icon } from "./view.js";
import { language, t } from "./words.js";

const ROWS = {
  en: ["1234567890", "qwertyuiop", "asdfghjkl-", "zxcvbnm.,"],
  de: ["1234567890", "qwertzuiopü", "asdfghjklöä", "yxcvbnmß.,-"],
};

export function ready(box) {
  let target = null;

  function type(text) {
    if (!target) return;
    const start = target.selectionStart ?? target.value.length, end = target.selectionEnd ?? start;
    if (text === null) target.setRangeText("", start === end ? Math.max(0, start - 1) : start, end, "end");
    else target.setRangeText(text, start, end, "end");
    target.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function key(label, act, name = "", more = "") {
    return el("button", { type: "button", class: more, tabIndex: -1, ariaLabel: name || label, on: { pointerdown: (event) => { event.preventDefault(); act(); } } }, label);
  }

  function show(input) {
    target = input;
    const rows = ROWS[language()] ?? ROWS.en;
    box.replaceChildren(...rows.map((row) => el("div", {}, ...[...row].map((one) => key(one, () => type(one))))),
      el("div", {}, key("⌫", () => type(null), t("key_delete")), key(" ", () => type(" "), t("key_space"), "space"), key(icon("close"), hide, t("close"))));
    (input.closest("dialog") ?? document.body).append(box); // a modal dialog takes touches from all that is outside of it
    box.hidden = false;
    input.focus();
  }

  function hide() {
    box.hidden = true;
    document.body.append(box);
    target = null;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-keys]");
    if (button) show(document.getElementById(button.dataset.keys));
  });
  document.addEventListener("focusin", (event) => {
    if (box.hidden) return;
    if (event.target.matches?.("input")) target = event.target;
  });
  document.addEventListener("close", hide, true);
  return { show, hide };
}
