// Paper is white: print in light colours, whatever the page shows.
matchMedia("print").addEventListener("change", (print) => {
  const root = document.documentElement;
  if (print.matches) {
    root.dataset.themeOnScreen = root.dataset.theme;
    root.dataset.theme = "light";
  } else if (root.dataset.themeOnScreen) {
    root.dataset.theme = root.dataset.themeOnScreen;
  }
});
