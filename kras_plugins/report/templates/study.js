(function () {
  "use strict";
  // Print also what is folded on the screen, except long lists, which print only if the reader opened them.
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details.stat").forEach(function (d) { d.open = true; });
  });
  // A link to something inside a folded part opens it.
  addEventListener("hashchange", function () {
    var target = document.getElementById(location.hash.slice(1));
    var next = target && target.nextElementSibling;
    if (next && next.tagName === "DETAILS") next.open = true;
  });
  // When served by `kras view`, a slide links to the viewer; in the file alone it has no link.
  if (location.protocol.startsWith("http") && location.pathname === "/report") {
    document.querySelectorAll("a[data-slide]").forEach(function (a) {
      a.href = "/slides/" + encodeURIComponent(a.dataset.slide);
    });
  }
  function value(row, column) {
    var text = row.cells[column].textContent.trim(), number = Number(text);
    return text === "" || text === "–" ? null : isNaN(number) ? text : number;
  }
  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0], rows = Array.from(body.rows), heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.append(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var keyed = rows.map(function (row) { return [value(row, column), row]; });
        keyed.sort(function (a, b) {
          if (a[0] === null || b[0] === null) return compare(a[0], b[0]);
          return (down ? -1 : 1) * compare(a[0], b[0]);
        });
        rows = keyed.map(function (pair) { return pair[1]; });
        body.append.apply(body, rows);
      });
    });
    var label = document.createElement("label"), box = document.createElement("input"), told = document.createElement("span");
    box.type = "search";
    box.placeholder = "LUAD positive rule-out";
    told.setAttribute("role", "status");
    label.className = "filter";
    label.append("Show rows that contain ", box, told);
    table.parentElement.before(label);
    box.addEventListener("input", function () {
      var words = box.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      rows.forEach(function (row) {
        var text = Array.from(row.cells, function (cell) { return cell.textContent; }).join("\t").toLowerCase();
        row.hidden = !words.every(function (word) { return text.includes(word); });
        shown += !row.hidden;
      });
      told.textContent = " " + shown + " of " + rows.length;
    });
  });
})();
