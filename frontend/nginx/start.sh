#!/bin/bash
# Writes down whom to believe about a client's address and TLS, and starts nginx. A proxy that ends TLS runs on this machine,
# so it comes from the gateway of our network; what anybody else says of whom they speak for is not passed on.
set -euo pipefail
gateway=127.0.0.1
while read -r _ destination hex _; do # addresses in there are numbers, last byte first
    [[ $destination == 00000000 ]] && gateway=$((16#${hex:6:2})).$((16#${hex:4:2})).$((16#${hex:2:2})).$((16#${hex:0:2}))
done </proc/net/route
cat >/tmp/near.conf <<CONF
geo \$realip_remote_addr \$near { default 0; $gateway 1; }
set_real_ip_from $gateway;
CONF
exec nginx -c /etc/nginx/codeact/nginx.conf -g 'daemon off;'
