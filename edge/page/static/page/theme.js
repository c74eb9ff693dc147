// Loaded before anything is painted, so that nobody who chose dark sees a white flash. No module for that reason.
(() => {
  const KEY = "videodisco.theme";
  const NEXT = { auto: "light", light: "dark", dark: "auto" };

  function stored() {
    try {
      return NEXT[localStorage.getItem(KEY)] ? localStorage.getItem(KEY) : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  }

  function set(theme) {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // it holds until the page is closed
    }
    document.dispatchEvent(new CustomEvent("themechange", { detail: theme }));
  }

  document.documentElement.dataset.theme = stored();
  window.videodiscoTheme = { current: () => document.documentElement.dataset.theme, next: () => set(NEXT[document.documentElement.dataset.theme]) };
})();
