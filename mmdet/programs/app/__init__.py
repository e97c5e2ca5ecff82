"""A page in the browser around `VideoDetector`. Only `page` and `server` need gradio."""
