// A formula within a line that is wider than its column (on a phone) scrolls, rather than being cut off.
window.addEventListener("load", async () => {
  if (!window.MathJax?.startup) return;
  await window.MathJax.startup.promise;
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    if (formula.scrollWidth > formula.clientWidth + 1) {
      formula.classList.add("wide-math");
      formula.tabIndex = 0;
    }
  }
});
