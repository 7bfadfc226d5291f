// Gives each chart a button that saves it as an SVG file, in the colours that it has on the page. Without it every
// page is complete; the charts of boards and cells are files of the site as well.
"use strict";

// What a style sheet says of a shape or a text, which the file has in attributes instead.
const SHOWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap",
  "font-family", "font-size", "text-anchor"];
const CHART_MARGIN = 12, CHART_HEAD = 40, CHART_LINE = 20, CHART_LETTER = 6.2; // in the chart's units
const siteRoot = new URL("..", document.currentScript.src).pathname;

const slugOf = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 100);

// A copy of an element of a chart that needs no style sheet.
const plainCopy = (element) => {
  const copy = element.cloneNode(true), copies = [copy, ...copy.querySelectorAll("*")];
  [element, ...element.querySelectorAll("*")].forEach((part, at) => {
    copies[at].removeAttribute("class");
    if (!part.matches("path, circle, text")) return;
    const style = getComputedStyle(part);
    for (const name of SHOWN) copies[at].setAttribute(name, style.getPropertyValue(name));
  });
  copy.querySelectorAll("[stroke-width='12px']").forEach((part) => part.remove()); // where a pointer meets a line
  return copy;
};

const keyOf = (line) => {
  const style = line.classList[0], swatch = document.querySelector(`.swatch.${style}`);
  return { style, label: line.querySelector("title").textContent, shapes: swatch ? [...swatch.children] : [] };
};

// The chart under its caption and over its legend, on the colour of the page.
const chartFile = (chart, caption) => {
  const add = (parent, tag, attributes, text = "") => {
    const element = document.createElementNS(chart.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    parent.append(element);
    return element;
  };
  const keys = [...chart.querySelectorAll(":scope > g")].map(keyOf).sort((a, b) => a.style < b.style ? -1 : 1);
  const { width, height } = chart.viewBox.baseVal, drawing = plainCopy(chart);
  const wide = Math.max(width, ...[caption, ...keys.map(({ label }) => label)].map((text) => 40 + CHART_LETTER * text.length)) + 2 * CHART_MARGIN;
  const high = CHART_HEAD + height + CHART_LINE * keys.length + CHART_MARGIN;
  const file = document.createElementNS(chart.namespaceURI, "svg");
  for (const [name, value] of Object.entries({ width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img" })) file.setAttribute(name, value);
  add(file, "title", {}, chart.getAttribute("aria-label"));
  add(file, "rect", { width: "100%", height: "100%", fill: getComputedStyle(document.documentElement).backgroundColor });
  const page = getComputedStyle(document.body), words = { fill: page.color, "font-family": getComputedStyle(chart).fontFamily };
  add(file, "text", { ...words, "font-size": "14px", x: CHART_MARGIN + 6, y: 24 }, caption);
  add(file, "g", { transform: `translate(${CHART_MARGIN} ${CHART_HEAD})` }).append(...drawing.childNodes);
  keys.forEach(({ label, shapes }, at) => {
    const key = add(file, "g", { transform: `translate(${CHART_MARGIN + 6} ${CHART_HEAD + height + CHART_LINE * at})` });
    key.append(...shapes.map(plainCopy));
    add(key, "text", { ...words, "font-size": "10.5px", x: 34, y: 11 }, label);
  });
  // A name may hold characters that XML cannot.
  return new XMLSerializer().serializeToString(file).replace(/[^\t\n\r\x20-\uffff]|[\ufffe\uffff]/g, "\ufffd");
};

const chartNames = new Map();

// The page's name and the chart's: "motion-shapes-cells-slim-100pct-place-by-accuracy.svg".
const fileNameOf = (chart) => {
  const page = slugOf(location.pathname.slice(siteRoot.length).replace(/(\/?index)?\.html$/, ""));
  const name = [page, slugOf(chart.getAttribute("aria-label"))].filter(Boolean).join("-");
  const count = (chartNames.get(name) ?? 0) + 1;
  chartNames.set(name, count);
  return `${name}${count > 1 ? `-${count}` : ""}.svg`;
};

const offerFile = (figure) => {
  const chart = figure.querySelector("svg.chart");
  if (!chart) return;
  const caption = figure.querySelector("figcaption").textContent, name = fileNameOf(chart);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "Save as SVG";
  button.setAttribute("aria-label", `Save as SVG: ${caption}`);
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([chartFile(chart, caption)], { type: "image/svg+xml" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  chart.after(button);
};

document.querySelectorAll("figure").forEach(offerFile);
