#!/bin/sh
# Run once as root, while the image is built: takes away what a base image has and a sandbox must not, or need not, have.
set -eu

# Package managers and their data, Perl (only they need it), the base's own pip, documentation but for licences, translations.
rm -rf /etc/apt /etc/dpkg /usr/bin/apt* /usr/bin/dpkg* /usr/sbin/dpkg* /usr/bin/deb* /usr/lib/apt /usr/lib/dpkg /usr/share/dpkg \
    /var/lib/apt /var/lib/dpkg /var/cache /var/log /var/mail /var/local /var/backups \
    /usr/bin/perl* /usr/lib/*/perl-base /usr/share/perl5 \
    /usr/bin/pip* /usr/local/bin/pip* /usr/lib/python3/dist-packages /usr/local/lib/python3.*/site-packages \
    /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/bash-completion /usr/share/bug \
    /root/.cache /tmp/* /run/* /var/tmp /home /media /mnt /srv
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type d -empty -delete

# Programs that run with other rights than their caller's, and group rights that directories hand down.
find / -xdev -type f -perm /6000 -delete
find / -xdev -type d -perm /6000 -exec chmod a-s {} +

# Nobody is here but the tenant.
printf '%s\n' 'sandbox:x:10001:10001::/workspace:/bin/sh' 'nobody:x:65534:65534::/:/bin/false' >/etc/passwd
printf '%s\n' 'sandbox:x:10001:' 'nogroup:x:65534:' >/etc/group
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files' >/etc/nsswitch.conf
rm -f /etc/shadow* /etc/gshadow* /etc/passwd- /etc/group- /etc/subuid* /etc/subgid*
mkdir -p /workspace /run /tmp
chown 10001:10001 /workspace
chmod 0700 /workspace
