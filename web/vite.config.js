// Builds the pages that the server carries: no inline code and no data: URLs, so that a strict
// Content-Security-Policy holds; names from content, so that the same source gives the same bytes.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/",
  build: {
    outDir: "dist",
    assetsDir: "assets",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rollupOptions: { input: ["index.html", "docs.html"] },
    target: "es2022",
  },
});
