// A formula within a line that is wider than its column (on a phone) scrolls, rather than being cut off.
window.addEventListener("load", async () => {
  if (!window.MathJax?.startup) return;
  await window.MathJax.startup.promise;
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    const column = formula.closest("p, li, td, dd, blockquote, div");
    if (column && formula.scrollWidth > column.clientWidth) {
      formula.classList.add("wide-math");
      formula.tabIndex = 0;
    }
  }
});
