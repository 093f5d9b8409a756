// What is wider than its column (on a phone) scrolls in its own box. Such a box can be reached by keyboard, and
// data-more says on which sides there is more: custom.css lets it fade out there.
window.addEventListener("load", async () => {
  if (window.MathJax?.startup) await window.MathJax.startup.promise;
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    const column = formula.closest("p, li, td, dd, blockquote, div");
    if (column && formula.scrollWidth > column.clientWidth) formula.classList.add("wide-math");
  }
  const boxes = ["pre", "table", "div.math", ".cell_output", ".output", ".pst-scrollable-table-container"];
  const selector = [".wide-math", ...boxes.map((box) => `.bd-article ${box}`)].join(", ");
  const look = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    if (hidden > 0) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    const sides = { left: box.scrollLeft > 1, right: box.scrollLeft < hidden - 1 }; // positions are fractions of a pixel
    box.dataset.more = Object.keys(sides).filter((side) => sides[side]).join(" ");
  };
  // An observer also sees the boxes of a folded cell when it is opened.
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => look(entry.target)));
  for (const box of document.querySelectorAll(selector)) {
    sizes.observe(box);
    box.addEventListener("scroll", () => look(box), { passive: true });
  }
});

// A preview that is a formula has no text: readers of the screen are told what it is.
new MutationObserver(() => {
  for (const box of document.querySelectorAll(".tippy-box:not([aria-label]):has(mjx-container)")) {
    box.setAttribute("aria-label", "Formula");
  }
}).observe(document.documentElement, { childList: true, subtree: true });
