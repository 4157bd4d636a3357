// SPDX-License-Identifier: Apache-2.0
//
// Tables whose rows stay the same elements from one second to the next, so that the focus, a
// selection and a screen reader's place in them stay where they are.

const ROWS_MAX = 200;  // of a table; further ones are counted only

// A section of the page with one table.
//   columns: {name, label, show(row): text, sort(row): what to sort by (optional), number: right
//             aligned, draw(row, cell): instead of show, for what is no text}
//   details(row, node): fills what a row opens when its first cell is pressed; undefined: no such
//   thing
class Table {
  constructor({id, title, note, columns, sortBy, details, empty}) {
    this.columns = columns;
    this.sortBy = sortBy;  // a column's name; numbers have the greatest first, texts the least
    this.reversed = false;
    this.details = details;
    this.rows = new Map();  // by key: {tr, cells, opened}
    this.last = [];
    this.body = element("tbody", {role: "rowgroup"});
    this.more = element("p", {class: "note"});
    this.empty = element("p", {class: "empty"}, empty ?? "Nothing.");
    this.table = element(
        "table", {role: "table", "aria-labelledby": `${id}-title`},
        element("thead", {role: "rowgroup"},
                element("tr", {role: "row"}, ...columns.map((column) => this.#head(column)))),
        this.body);
    // What is wider than a screen scrolls, by keyboard too.
    this.frame = element("div", {class: "frame", tabindex: "0", role: "region",
                                 "aria-labelledby": `${id}-title`}, this.table);
    this.node = element(
        "section", {id: id, "aria-labelledby": `${id}-title`},
        element("h2", {id: `${id}-title`}, title), element("p", {class: "note"}, note ?? ""),
        this.frame, this.empty, this.more);
  }

  // `rows`: [key, row] pairs.
  show(rows) {
    this.last = rows;
    this.empty.hidden = rows.length > 0;
    this.frame.hidden = rows.length === 0;
    const shown = this.#sorted(rows).slice(0, ROWS_MAX);
    const left = rows.length - shown.length;
    setText(this.more, left > 0 ? `And ${wholeText(left)} more.` : "");
    const keys = new Set(shown.map(([key]) => key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.tr.remove();
      row.opened?.remove();
      this.rows.delete(key);
    }
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    let place = this.body.firstElementChild;
    for (const [key, told] of shown) {
      if (!this.rows.has(key)) this.rows.set(key, this.#newRow(key));
      const row = this.rows.get(key);
      this.#fill(row, told);
      for (const tr of [row.tr, row.opened]) {
        if (!tr) continue;
        if (tr === place) place = place.nextElementSibling;
        else this.body.insertBefore(tr, place);
      }
    }
    if (document.activeElement !== focused) focused?.focus({preventScroll: true});  // its row moved
  }

  #head(column) {
    const th = element("th", {role: "columnheader", scope: "col",
                              class: column.number ? "number" : undefined});
    if (!column.sort) {
      th.append(column.label);
      return th;
    }
    const button = element("button", {type: "button", title: `sort by ${column.label}`}, column.label);
    button.addEventListener("click", () => {
      this.reversed = this.sortBy === column.name && !this.reversed;
      this.sortBy = column.name;
      this.#markSorted();
      this.show(this.last);
    });
    th.append(button);
    column.th = th;
    if (column.name === this.sortBy) th.setAttribute("aria-sort", this.#direction(column));
    return th;
  }

  #direction(column) {
    return (column.number ?? false) !== this.reversed ? "descending" : "ascending";
  }

  #markSorted() {
    for (const column of this.columns) {
      if (column.name !== this.sortBy) column.th?.removeAttribute("aria-sort");
      else column.th.setAttribute("aria-sort", this.#direction(column));
    }
  }

  #sorted(rows) {
    const column = this.columns.find(({name}) => name === this.sortBy);
    const sign = this.#direction(column) === "descending" ? -1 : 1;
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    return rows
        .map(([key, row]) => [key, row, column.sort(row)])
        .sort((a, b) => sign * compare(a[2], b[2]) || compare(a[0], b[0]));
  }

  #newRow(key) {
    const row = {cells: [], opened: null, key: key};
    row.tr = element("tr", {role: "row"});
    this.columns.forEach((column, i) => {
      const cell = element(i === 0 ? "th" : "td", {
        role: i === 0 ? "rowheader" : "cell", scope: i === 0 ? "row" : undefined,
        class: column.number ? "number" : undefined, "data-label": column.label,
      });
      let inside = cell;
      if (i === 0 && this.details) {
        inside = element("button", {type: "button", class: "opener", "aria-expanded": "false"});
        inside.addEventListener("click", () => this.#toggle(row, inside));
        cell.append(inside);
      }
      row.cells.push(inside);
      row.tr.append(cell);
    });
    return row;
  }

  #fill(row, told) {
    row.told = told;
    this.columns.forEach((column, i) => {
      if (column.draw) column.draw(told, row.cells[i]);
      else setText(row.cells[i], clean(column.show(told)));
    });
    row.tr.classList.toggle("quiet", Boolean(told.quiet));
    if (row.opened) this.details(told, row.opened.firstElementChild);
  }

  #toggle(row, button) {
    const open = row.opened === null;
    button.setAttribute("aria-expanded", String(open));
    if (open) {
      row.opened = element("tr", {role: "row", class: "opened"},
                           element("td", {role: "cell", colspan: this.columns.length}));
      row.tr.after(row.opened);
      this.details(row.told, row.opened.firstElementChild);
    } else {
      row.opened.remove();
      row.opened = null;
    }
  }
}
