// Search without a server: search_index.js sets `SEARCH`, a list of [address, page, section, text].
"use strict";
const SHOWN = 20;
const root = document.currentScript.src.replace(/site\.js$/, "");
const box = document.querySelector("[role=search]");
const input = box.querySelector("input");
const found = document.getElementById("found");
const said = document.getElementById("said");
let index = null;

function loadIndex() {
  if (index) return;
  index = [];
  const script = document.createElement("script");
  script.src = root + "search_index.js";
  script.onload = () => {
    index = SEARCH.map((entry) => [...entry, entry.slice(1).join(" ").toLowerCase()]);
    show();
  };
  document.head.append(script);
}

// Every word must occur; words of the heading, then of the page's title, count more than the text's.
function score([, page, section, , all], words) {
  if (!words.every((word) => all.includes(word))) return 0;
  const count = (text) => words.filter((word) => text.toLowerCase().includes(word)).length;
  return 1 + 4 * count(section) + 2 * count(page);
}

// The text around the first word, as text: nothing in it is ever read as HTML.
function excerpt(text, words) {
  const at = Math.max(0, text.toLowerCase().indexOf(words[0]) - 60);
  return (at ? "… " : "") + text.slice(at, at + 180) + (at + 180 < text.length ? " …" : "");
}

function show() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = index
    .map((entry) => [score(entry, words), entry])
    .filter(([points]) => words.length && points)
    .sort((a, b) => b[0] - a[0]);
  found.querySelector("ol").replaceChildren(...hits.slice(0, SHOWN).map(([, entry]) => {
    const [address, page, section, text] = entry;
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = root + address;
    link.textContent = section && section !== page ? `${page} – ${section}` : page;
    const lines = document.createElement("p");
    lines.textContent = excerpt(text, words);
    item.append(link, lines);
    return item;
  }));
  const shown = hits.length > SHOWN ? `, the first ${SHOWN} are shown` : "";
  const places = hits.length === 1 ? "1 place" : `${hits.length || "No"} places`;
  said.textContent = words.length ? `${places} found${shown}.` : "";
  found.hidden = !words.length;
}

// Down and up walk through the results, Escape closes them, "/" comes here from anywhere.
function keys(event) {
  const links = [...found.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "Escape") {
    input.value = "";
    show();
    input.focus();
  } else if (event.key === "ArrowDown" && links[at + 1]) {
    event.preventDefault();
    links[at + 1].focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    event.preventDefault();
    (links[at - 1] || input).focus();
  }
}

box.hidden = false;
input.addEventListener("focus", loadIndex);
input.addEventListener("input", () => index && show());
box.addEventListener("keydown", keys);
box.addEventListener("submit", (event) => {
  event.preventDefault();
  found.querySelector("a")?.click();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
    event.preventDefault();
    input.focus();
  }
});
