// Sorts a table by a column, inside each cell of the board. Without it the page is complete.
// The order is kept in the address (#sort=TABLE.COLUMN.DIRECTION), so that a view can be linked.
"use strict";
const value = (row, column) => {
  const cell = row.cells[column];
  const text = (cell.dataset.value ?? cell.textContent).trim();
  const number = Number(text.replace(">", "").replace("−", "-"));
  return text === "" || text === "–" ? null : Number.isNaN(number) ? text : number + (text[0] === ">" ? 0.5 : 0);
};
const compare = (a, b, sign) => {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
};
const sort = (table, column, direction) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => at === column ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort"));
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    rows.sort((a, b) => compare(value(a, column), value(b, column), sign)).forEach((row) => body.append(row));
  }
};
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      sort(table, column, direction);
      history.replaceState(null, "", `#sort=${table.id}.${column}.${direction}`);
    });
  });
}
const wanted = /^#sort=([\w-]+)\.(\d+)\.(ascending|descending)$/.exec(decodeURIComponent(location.hash));
const table = wanted && document.getElementById(wanted[1]);
if (table && table.matches("table.sortable") && table.tHead.rows[0].cells[Number(wanted[2])]) {
  sort(table, Number(wanted[2]), wanted[3]);
  table.scrollIntoView();
}
