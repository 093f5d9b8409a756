// What is wider than its column (on a phone) scrolls in its own box, and a box that scrolls can be reached by keyboard.
window.addEventListener("load", async () => {
  if (window.MathJax?.startup) await window.MathJax.startup.promise;
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    const column = formula.closest("p, li, td, dd, blockquote, div");
    if (column && formula.scrollWidth > column.clientWidth) formula.classList.add("wide-math");
  }
  const boxes = ["pre", "table", "div.math", ".cell_output", ".output", ".pst-scrollable-table-container"];
  const selector = [".wide-math", ...boxes.map((box) => `.bd-article ${box}`)].join(", ");
  const reach = () => {
    for (const box of document.querySelectorAll(selector)) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  reach();
  window.addEventListener("resize", reach);
});
