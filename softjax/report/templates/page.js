"use strict";
const slider = document.getElementById("instant");
function show() {
  const chosen = document.querySelector(`p[data-frame="${slider.value}"]`);
  for (const part of document.querySelectorAll("[data-frame]")) {
    part.classList.toggle("shown", part.dataset.frame === slider.value);
  }
  for (const picture of document.querySelectorAll("[data-picture]")) {
    picture.classList.toggle("shown", picture.dataset.picture === chosen.dataset.shows);
  }
  slider.setAttribute("aria-valuetext", chosen.querySelector("strong").textContent);
}
if (slider) {
  slider.addEventListener("input", show);
  show();
}
for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => {
    const paper = button.closest(".zoomed").querySelector(".paper");
    const before = Number(paper.style.getPropertyValue("--zoom") || 1);
    const after = { in: Math.min(before * 1.4, 8), out: Math.max(before / 1.4, 1), fit: 1 }[button.dataset.zoom];
    paper.style.setProperty("--zoom", after);
  });
}
