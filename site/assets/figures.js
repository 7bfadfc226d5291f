// Gives each chart a button that saves it as an SVG file, in the colours that it has on the page. Without it every
// page is complete; the charts of boards and cells are files of the site as well.
"use strict";

// What a style sheet says of a text or a shape, which the file has in attributes instead.
const OF_TEXTS = ["fill", "font-family", "font-size", "text-anchor"];
const OF_SHAPES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap"];
const CHART_MARGIN = 12, CHART_HEAD = 40, CHART_LINE = 20, CHART_LETTER = 6.2; // in the chart's units
const siteRoot = new URL("..", document.currentScript.src).pathname;

const slugOf = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 100);

// A copy of an element of a chart that needs no style sheet.
const plainCopy = (element) => {
  const copy = element.cloneNode(true), copies = [copy, ...copy.querySelectorAll("*")];
  [element, ...element.querySelectorAll("*")].forEach((part, at) => {
    copies[at].removeAttribute("class");
    if (part.matches(".hit")) copies[at].remove(); // where a pointer meets a line
    if (!part.matches("path, circle, text")) return;
    const style = getComputedStyle(part), names = part.matches("text") ? OF_TEXTS : OF_SHAPES;
    for (const name of names) copies[at].setAttribute(name, style.getPropertyValue(name));
  });
  return copy;
};

const keyOf = (line) => {
  const style = line.classList[0], wanted = `.swatch.${style}`;
  const swatch = line.closest("figure").querySelector(wanted) ?? document.querySelector(wanted);
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
  const keys = [...chart.querySelectorAll(":scope > [class^=s]")].map(keyOf).sort((a, b) => a.style < b.style ? -1 : 1);
  const { width, height } = chart.viewBox.baseVal, words = [caption, ...keys.map(({ label }) => label)];
  const wide = Math.max(width, ...words.map((text) => 40 + CHART_LETTER * text.length)) + 2 * CHART_MARGIN;
  const high = CHART_HEAD + height + CHART_LINE * keys.length + CHART_MARGIN;
  const box = { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img" };
  const file = add(document.createDocumentFragment(), "svg", box);
  add(file, "title", {}, chart.getAttribute("aria-label"));
  add(file, "rect", { width: "100%", height: "100%", fill: getComputedStyle(document.documentElement).backgroundColor });
  const ink = { fill: getComputedStyle(document.body).color, "font-family": getComputedStyle(chart).fontFamily };
  add(file, "text", { ...ink, "font-size": "14px", x: CHART_MARGIN + 6, y: 24 }, caption);
  add(file, "g", { transform: `translate(${CHART_MARGIN} ${CHART_HEAD})` }).append(...plainCopy(chart).childNodes);
  keys.forEach(({ label, shapes }, at) => {
    const top = CHART_HEAD + height + CHART_LINE * at;
    const key = add(file, "g", { transform: `translate(${CHART_MARGIN + 6} ${top})` });
    key.append(...shapes.map(plainCopy));
    add(key, "text", { ...ink, "font-size": "10.5px", x: 34, y: 11 }, label);
  });
  // A name may hold characters that XML does not know.
  return new XMLSerializer().serializeToString(file).replace(/[^\t\n\r\x20-\uffff]|[\ufffe\uffff]/g, "\ufffd");
};

// The page's name and the chart's: "motion-shapes-cells-slim-100pct-place-by-accuracy-at-the-end-of-each-stage".
const nameOfChart = (chart) => {
  const page = slugOf(location.pathname.slice(siteRoot.length).replace(/(\/?index)?\.html$/, ""));
  return [page, slugOf(chart.getAttribute("aria-label").split(";")[0])].filter(Boolean).join("-");
};

// With a number where charts of the page share a name.
const fileNameOf = (chart) => {
  const name = nameOfChart(chart), charts = [...document.querySelectorAll("figure svg.chart")];
  const at = charts.filter((each) => nameOfChart(each) === name).indexOf(chart);
  return at > 0 ? `${name}-${at + 1}.svg` : `${name}.svg`;
};

const offerFile = (figure) => {
  const chart = figure.querySelector("svg.chart");
  if (!chart) return;
  const caption = figure.querySelector("figcaption").textContent;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "Save as SVG";
  button.setAttribute("aria-label", `Save as SVG: ${caption}`);
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([chartFile(chart, caption)], { type: "image/svg+xml" }));
    link.download = fileNameOf(chart);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  chart.after(button);
};

document.querySelectorAll("figure").forEach(offerFile);
