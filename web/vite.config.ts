import { defineConfig } from 'vite';

// One page, no inline code: the server's CSP is `default-src 'self'`, so nothing may be inlined, not even small assets.
export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
  },
  server: {
    host: '127.0.0.1',
    // `npm run dev` beside a running `anteroom dev`.
    proxy: {
      '/api': { target: 'http://127.0.0.1:8080' },
      '/dev': { target: 'http://127.0.0.1:8080' },
      '/ws': { target: 'ws://127.0.0.1:8080', ws: true },
    },
  },
  appType: 'spa',
});
