"use strict";
{
  const card = document.getElementById("card");
  const done = document.getElementById("share-done");
  const picture = () => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = 1200;
      canvas.height = 630;
      canvas.getContext("2d").drawImage(image, 0, 0, 1200, 630);
      canvas.toBlob((blob) => blob ? resolve(blob) : reject(new Error("no PNG")), "image/png");
    };
    image.onerror = reject;
    const text = new XMLSerializer().serializeToString(card);
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  });
  const save = async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await picture());
    link.download = "underpass-measure.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    done.textContent = done.dataset.saved;
  };
  document.getElementById("save-card").onclick = save;
  document.getElementById("copy-card").onclick = async () => {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": picture() })]);
      done.textContent = done.dataset.copied;
    } catch {
      // Not every browser lets a page write to the clipboard.
      await save();
    }
  };
  document.getElementById("share-buttons").hidden = false;
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
}
