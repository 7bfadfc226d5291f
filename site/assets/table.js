// Sorts the tables of class "sortable"; sorts, filters and links the standings of a board.
// Without it every page is complete. The view (filters, order, columns, chosen rows) is kept in the address.
"use strict";

// --- sorting ---

// What a cell is sorted by: the number it begins with or, in a column of words, its text; null where it says nothing.
const valueOf = (cell, words) => {
  const text = (cell?.dataset.v ?? cell?.textContent ?? "").trim().replace("−", "-");
  const value = words ? text : parseFloat(text.replace(">", "")) + (text[0] === ">" ? 0.5 : 0);
  return value === "" || Number.isNaN(value) ? null : value;
};

// Cells that say nothing come last in either direction.
const compare = (a, b, sign) => {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
};

// Sorts rows inside their body, then the bodies by their first row; without a direction they lie as they came.
// Shows those that fit, of a long table the first of each body: at most about `most` rows. Only what is shown is moved,
// because that is what takes the browser its time. Returns how many rows fit and how many are shown.
const arrange = (table, { column, direction }, fits = () => true, most = Infinity) => {
  const heads = [...table.tHead.rows[0].cells], words = heads[column].classList.contains("text");
  for (const head of heads) head.removeAttribute("aria-sort");
  if (direction) heads[column].setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const order = (a, b) => (direction && compare(a.value, b.value, sign)) || a.place - b.place;
  const bodies = parts.get(table).map(({ element, rows, place }) => {
    const found = rows.filter(fits).map((row) => ({ ...row, value: direction ? valueOf(row.element.cells[column], words) : null }));
    found.sort(order);
    return { element, rows, found, place, value: found[0]?.value ?? null };
  }).sort(order);
  const count = bodies.reduce((sum, { found }) => sum + found.length, 0);
  const each = count > most ? Math.max(4, Math.floor(most / bodies.filter(({ found }) => found.length).length)) : count;
  let left = Math.min(count, most);
  for (const { element, rows, found } of bodies) {
    const shown = found.slice(0, Math.min(each, left)).map((row) => row.element), kept = new Set(shown);
    for (const row of rows) if (row.element.hidden === kept.has(row.element)) row.element.hidden = !kept.has(row.element);
    element.hidden = !shown.length;
    left -= shown.length;
    element.append(...shown);
  }
  table.append(...bodies.map(({ element }) => element));
  return { count, shown: Math.min(count, most) - left };
};

// The bodies of a table and their rows, in the order in which they came.
const parts = new Map();

// Makes the heads buttons; `sorted` is told of each click.
const makeSortable = (table, sorted) => {
  parts.set(table, [...table.tBodies].map((body, place) => {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    return { element: body, place, rows: rows.map((element, at) => ({ element, place: at })) };
  }));
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button"), title = head.querySelector("span");
    button.type = "button";
    button.className = "sort";
    button.append(...title ? title.childNodes : head.childNodes);
    if (title) title.replaceWith(button); else head.append(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("text") ? "ascending" : "descending";
      const second = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      sorted(column, now === first ? second : now === second ? "" : first);
    });
  });
};

for (const table of document.querySelectorAll("table.sortable")) {
  makeSortable(table, (column, direction) => arrange(table, { column, direction }));
}

// --- the standings of a board ---

const MOST = 200; // rows shown at once unless all are asked for: more take the browser too long to lay out
const FILTERS = ["student", "fraction", "teacher", "method", "data"];

// The address behind the number sign as names and raw values; null for the place of a heading.
const readAddress = () => {
  const text = location.hash.slice(1);
  if (text && !text.includes("=")) return null;
  return Object.fromEntries(text.split("&").filter(Boolean).map((part) => [part.split("=", 1)[0], part.slice(part.indexOf("=") + 1)]));
};
const plain = (text) => { try { return decodeURIComponent(text ?? ""); } catch { return ""; } };

const makeView = (view) => {
  const table = view.querySelector("table.rows"), form = view.querySelector("form.controls");
  const fields = form.elements, said = form.querySelector("output"), link = form.querySelector("a.compare");
  const heads = [...table.tHead.rows[0].cells], keys = heads.map((head) => head.dataset.key);
  const columns = [...view.querySelectorAll(".choose input")];
  let order = { column: 0, direction: "" }, all = false;

  const rows = [...table.querySelectorAll("tr[data-row]")].map((element) => {
    const [student, fraction, , teacher, method] = element.dataset.row.split("~").map(plain);
    const data = element.parentElement.dataset.note ?? "", head = element.cells[0];
    const text = `${student} ${100 * fraction} % ${head.textContent} ${data}`.toLowerCase();
    const box = document.createElement("input");
    box.type = "checkbox";
    box.autocomplete = "off";
    box.setAttribute("aria-label", `Choose ${method}, ${teacher}, of ${student}`);
    head.prepend(box);
    return { element, box, text, facts: { student, fraction, teacher, method, data } };
  });

  const known = new Map(rows.map((row) => [row.element, row]));

  // Each filter offers what the rows have; one that could only say "all" stays away.
  for (const name of FILTERS) {
    const found = [...new Set(rows.map((row) => row.facts[name]))].filter(Boolean);
    found.sort(name === "fraction" ? (a, b) => b - a : undefined);
    const shown = (value) => name === "fraction" ? `${+(100 * value).toPrecision(6)}\u202f%` : value === "none" ? "no teacher" : value;
    fields[name].append(...found.map((value) => new Option(shown(value), value)));
    fields[name].parentElement.hidden = found.length < 2;
  }

  const draw = () => {
    const wanted = FILTERS.filter((name) => fields[name].value), words = fields.find.value.toLowerCase().split(/\s+/);
    const fits = ({ element }) => {
      const { text, facts } = known.get(element);
      return wanted.every((name) => facts[name] === fields[name].value) && words.every((word) => text.includes(word));
    };
    const { count, shown } = arrange(table, order, fits, all ? Infinity : MOST);
    const found = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
    said.value = shown < count ? `${found}, the first ${shown} shown` : found;
    fields.all.hidden = count <= MOST;
    fields.all.textContent = all ? "Show fewer" : "Show every row";
  };

  const chosen = () => rows.filter((row) => row.box.checked).map((row) => row.element.dataset.row).join(",");
  const offerCompare = () => {
    const ids = chosen(), count = ids && ids.split(",").length;
    link.href = `${view.dataset.compare}#rows=${ids}`;
    link.textContent = `Compare ${count} selected`;
    link.hidden = !count;
  };

  const address = () => {
    const parts = [...FILTERS, "find"].filter((name) => fields[name].value.trim())
      .map((name) => `${name}=${encodeURIComponent(fields[name].value.trim())}`);
    if (order.direction) parts.push(`sort=${keys[order.column]}.${order.direction}`);
    const hidden = columns.filter((box) => !box.checked).map((box) => box.id.slice(4));
    if (hidden.length) parts.push(`hide=${hidden}`);
    if (all) parts.push("all=yes");
    if (chosen()) parts.push(`rows=${chosen()}`);
    return `${location.pathname}${location.search}${parts.length ? `#${parts.join("&")}` : ""}`;
  };
  // What is typed letter by letter is one step back, not one for each letter.
  const remember = (step = true) => history[step ? "pushState" : "replaceState"](null, "", address());

  const show = () => {
    const state = readAddress();
    if (!state) return;
    for (const name of [...FILTERS, "find"]) {
      fields[name].value = plain(state[name]);
      if (fields[name].selectedIndex === -1) fields[name].value = "";
    }
    const hidden = plain(state.hide).split(","), picked = new Set((state.rows ?? "").split(","));
    for (const box of columns) box.checked = !hidden.includes(box.id.slice(4));
    for (const row of rows) row.box.checked = picked.has(row.element.dataset.row);
    const [key, direction] = plain(state.sort).split(".");
    const sorted = keys.includes(key) && ["ascending", "descending"].includes(direction);
    order = sorted ? { column: keys.indexOf(key), direction } : { column: 0, direction: "" };
    all = state.all === "yes";
    draw();
    offerCompare();
  };

  const changed = (step) => { draw(); remember(step); };
  makeSortable(table, (column, direction) => { order = { column, direction }; changed(); });
  let typing = false;
  fields.find.addEventListener("input", () => { changed(!typing); typing = true; });
  fields.find.addEventListener("change", () => { typing = false; });
  form.addEventListener("change", (event) => { if (event.target !== fields.find) changed(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    history.pushState(null, "", location.pathname + location.search);
    show();
  });
  fields.all.addEventListener("click", () => { all = !all; changed(); });
  view.querySelector(".choose").addEventListener("change", () => remember());
  table.addEventListener("change", () => { offerCompare(); remember(); });
  fields.copy.addEventListener("click", async () => {
    const all = new URL(address(), location.href).href;
    try { await navigator.clipboard.writeText(all); said.value = "Link copied"; } catch { said.value = all; }
  });
  addEventListener("popstate", show);
  form.hidden = false;
  show();
};

document.querySelectorAll(".view").forEach(makeView);
