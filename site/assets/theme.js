// Runs before anything is drawn, so that a remembered theme holds from the first frame on; without it, and without
// scripts, the page follows the system. The button that switches between light and dark comes once the page is read.
"use strict";
{
  const KEY = "kdbench-theme", root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  try {
    const chosen = localStorage.getItem(KEY);
    if (chosen) root.dataset.theme = chosen;
  } catch { /* nothing can be remembered here */ }
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector(".theme");
    const show = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem(KEY, root.dataset.theme); } catch { /* remembered for this page alone */ }
      show();
    });
    system.addEventListener("change", show);
    show();
    button.hidden = false;
  });
}
