"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Beside the text there is room for both panels; above it, for one at a time.
  const panels = [...document.querySelectorAll(".panel")];
  const roomy = matchMedia("(min-width: 64.01rem)");
  const arrange = () => panels.forEach((panel) => { panel.open = roomy.matches; });
  arrange();
  roomy.addEventListener("change", arrange);
  const closeOthers = (kept) => {
    if (!roomy.matches) panels.forEach((panel) => { if (panel !== kept) panel.open = false; });
  };
  for (const panel of panels) {
    panel.querySelector("summary").addEventListener("click", () => closeOthers(panel));
    panel.addEventListener("click", (event) => { if (event.target.closest("a")) closeOthers(null); });
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !roomy.matches && panel.open) {
        panel.open = false;
        panel.querySelector("summary").focus();
      }
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("form");
    const status = form.querySelector("[role=status]");
    const tables = [...document.querySelectorAll("table.data")].map(prepared);

    function prepared(table) {
      const heads = [...table.tHead.rows[0].cells];
      const column = (name) => heads.findIndex((head) => head.dataset.filter === name);
      const filters = new Set(["interface", "status"].filter((name) => column(name) >= 0));
      if (table.querySelector("tr[data-interface]")) filters.add("interface");
      const count = document.createElement("span");
      count.className = "count";
      table.caption.firstElementChild.append(" ", count);
      return {
        body: table.tBodies[0], heads, count, filters, rows: null,
        interface: column("interface"), status: column("status"),
      };
    }

    const textOf = (row, place) => (place < 0 ? "" : row.cells[place].textContent.trim().toLowerCase());

    // Read when first needed: a large run has many thousand rows, and most are never asked for.
    function rowsOf(table) {
      table.rows ??= [...table.body.rows].map((row) => ({
        row,
        names: [...row.querySelectorAll("th")].map((head) => head.textContent.toLowerCase()),
        interface: row.dataset.interface ?? textOf(row, table.interface),
        status: textOf(row, table.status).split(":")[0],
      }));
      return table.rows;
    }

    function filter() {
      const words = form.elements.subject.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = { interface: form.elements.interface.value, status: form.elements.status.value };
      const active = words.length > 0 || wanted.interface || wanted.status;
      let shown = 0, all = 0;
      for (const table of tables) {
        const columns = Object.keys(wanted).filter((key) => wanted[key] && table.filters.has(key));
        let here = 0;
        for (const each of rowsOf(table)) {
          const named = !words.length || words.some((word) => each.names.some((name) => name.includes(word)));
          const kept = named && columns.every((key) => each[key] === wanted[key]);
          each.row.hidden = !kept;
          here += kept;
        }
        const filtered = words.length > 0 || columns.length > 0;
        table.count.textContent = filtered ? `${here} of ${table.rows.length} rows match the filter.` : "";
        shown += here;
        all += table.rows.length;
      }
      status.textContent = active ? `${shown} of ${all} rows in ${tables.length} tables` : "";
    }

    let waiting = 0;
    form.addEventListener("input", () => {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(filter);
    });
    form.addEventListener("reset", () => setTimeout(filter));
    form.addEventListener("submit", (event) => event.preventDefault());

    // What a field is sorted by: the first figure in it, or its words; null for a field without either.
    function key(cell, numeric) {
      const text = cell.textContent.trim();
      if (!numeric) return text || null;
      const found = /[\d,]*\.?\d+/.exec(text);
      return found ? Number(found[0].replaceAll(",", "")) : null;
    }

    function sort(table, head) {
      const numeric = head.classList.contains("number");
      const best = numeric && head.dataset.better !== "lower" ? "descending" : "ascending";
      const other = best === "ascending" ? "descending" : "ascending";
      const next = { [best]: other, [other]: "" }[head.getAttribute("aria-sort")] ?? best;
      table.heads.forEach((each) => each.removeAttribute("aria-sort"));
      const rows = rowsOf(table).map((each) => each.row);
      if (next) {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const place = head.cellIndex;
        const keys = new Map(rows.map((row) => [row, key(row.cells[place], numeric)]));
        rows.sort((left, right) => {
          const [one, two] = [keys.get(left), keys.get(right)];
          if (one === null || two === null) return (one === null) - (two === null);
          return sign * (numeric ? one - two : one.localeCompare(two, "en", { numeric: true }));
        });
      }
      table.body.append(...rows);
      status.textContent = next ? `Sorted by ${head.textContent.trim()}, ${next}` : "In the order of the page";
    }

    for (const table of tables) {
      for (const head of table.heads) {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => sort(table, head));
      }
    }

    // What can be scrolled sideways can be reached with the keyboard.
    const watch = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        if (target.scrollWidth > target.clientWidth + 1) target.tabIndex = 0;
        else target.removeAttribute("tabindex");
      }
    });
    for (const box of document.querySelectorAll(".scroll")) {
      if (!box.hasAttribute("role")) {
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", box.querySelector("caption")?.textContent.trim() || "Table");
      }
      watch.observe(box);
    }

    // Where the reader is, in the contents.
    const links = new Map();
    for (const link of document.querySelectorAll("nav a")) links.set(decodeURIComponent(link.hash.slice(1)), link);
    const marks = [...document.querySelectorAll("h2[id], h3[id]")].filter((mark) => links.has(mark.id));
    let current = null;
    const follow = () => {
      const passed = marks.filter((mark) => mark.getBoundingClientRect().top < innerHeight / 3);
      const link = links.get((passed.at(-1) ?? marks[0]).id);
      if (link === current) return;
      current?.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
      current = link;
    };
    let following = 0;
    addEventListener("scroll", () => {
      cancelAnimationFrame(following);
      following = requestAnimationFrame(follow);
    }, { passive: true });
    follow();

    // Pictures come when they are near, so that a large page is ready at once, and then the others one by one: who
    // prints the page or saves it as a picture does not pass by them all.
    const waitingPictures = [...document.querySelectorAll("img[loading=lazy]")];
    const fetchNext = () => {
      const picture = waitingPictures.shift();
      if (!picture) return;
      picture.loading = "eager";
      picture.decode().catch(() => {}).then(() => setTimeout(fetchNext, 20));
    };
    setTimeout(fetchNext, 200);
  });
})();
