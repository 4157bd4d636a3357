// SPDX-License-Identifier: Apache-2.0
//
// Numbers and names as people read them, and elements of the page. Whatever came over the wire gets
// into the page by way of text nodes and attributes only, never as HTML.

const TEXT_MAX = 200;  // characters of a name

// A peer's name may have any characters: those that would not be seen, or would turn the text
// around, are replaced, and long ones are cut.
function clean(text) {
  const seen = String(text ?? "").replace(
      /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, "\ufffd");
  return seen.length > TEXT_MAX ? `${seen.slice(0, TEXT_MAX)}…` : seen;
}

// Three significant digits: 0.12, 3.4, 56.7, 890.
function digits(value) {
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

function scaled(value, units, base) {
  let i = 0;
  while (value >= 0.9995 * base && i + 1 < units.length) {
    value /= base;
    ++i;
  }
  return `${digits(value)}${units[i] === "" ? "" : `\u202f${units[i]}`}`;
}

const rateText = (perSecond) => scaled(perSecond, ["", "k", "M", "G"], 1000);
const byteText = (bytes) => scaled(bytes, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
const wholeText = (number) => numberOf(number).toLocaleString("en").replaceAll(",", "\u202f");
// Missing and zero times are those that nobody has measured.
const timeText = (ns) => (ns ? scaled(ns, ["ns", "µs", "ms", "s"], 1000) : "–");
const optionalText = (number, show = wholeText) => (number === undefined ? "–" : show(number));

function durationText(ms) {
  const seconds = Math.floor(ms / 1000);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]
      .map(([length, unit], i, all) => {
        const rest = i > 0 ? seconds % all[i - 1][0] : seconds;
        return [Math.floor(rest / length), unit];
      });
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0\u202fs";
  return parts.slice(first, first + 2).map(([count, unit]) => `${count}\u202f${unit}`).join(" ");
}

// element("td", {class: "number"}, "text", node...): attributes that are undefined or false are left
// out.
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Without touching what is there already: a selection stays, and a screen reader is not disturbed.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
