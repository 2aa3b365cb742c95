"""How the embedded model comes to this machine and is served: catalogue, fetch, llama.cpp. Speaks the OpenAI API."""
