"""The way out for sandboxes that were granted a network: an allow-list by host name, enforced by a proxy outside of them.

A sandbox never gets an interface but lo. Its programs ask 127.0.0.1:3128 (`HTTP_PROXY`), which `image/forwarder.py` carries
to a Unix socket that this package listens on: a door of that sandbox's own. Per request: `rules` looks at the name,
`addresses` at what it leads to, `reach` connects to exactly that, `carry` moves the bytes, and `door` writes one line to
the log. A tunnel (https) is looked into no further than the name that its TLS asks for (`hello`): what goes through it to
that host, and to whom the host would pass it on, is not known here.
"""
