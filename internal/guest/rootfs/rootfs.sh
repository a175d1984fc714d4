#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# rootfs.sh OUT: makes OUT, an ext4 image of a Debian 12 that systemd boots, out of
# Debian's packages alone. It has no kernel: that, its drivers of disk and network, and
# the agent come from outside at each boot. A changed recipe is a new image.
set -eu
out=$1
tree=$out.tree

# What a server has, as far as tests use it: sshd and python3-apt, with all of python3, for
# Ansible, rpm for packages of the other kind.
packages=systemd,systemd-sysv,dbus,udev,kmod,procps,iproute2,openssh-server,python3-apt,rpm

# Under emulation every process that a boot starts takes a tenth of a second or more,
# and a timer that goes off in a test makes it another test:
#   nobody logs in on a terminal           getty.target
#   nobody uses them                       dev-hugepages.mount, dev-mqueue.mount
#   no packages are looked for, and no
#   disk is checked or trimmed, at times
#   that nobody chose                      the timers and e2scrub
#   the few drivers are loaded before      modprobe@.service, systemd-modules-load.service
#   a crash is on the console              systemd-pstore.service
#   a test starts sshd when it needs it    ssh.service (disabled)
masked='getty.target dev-hugepages.mount dev-mqueue.mount apt-daily.timer apt-daily-upgrade.timer
	dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
	systemd-tmpfiles-clean.timer modprobe@.service systemd-modules-load.service
	systemd-pstore.service'

# force-unsafe-io: a half-made image is thrown away anyway. The settings for making
# it must not be those of the guest's dpkg, so they go.
mmdebstrap --quiet --variant=minbase --include="$packages" \
	--dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--customize-hook='rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
	--customize-hook="chroot \"\$1\" systemctl --quiet mask $(echo $masked)" \
	--customize-hook='chroot "$1" systemctl --quiet disable ssh.service' \
	--customize-hook='echo debian > "$1"/etc/hostname' \
	--customize-hook='echo "127.0.0.1 localhost debian" > "$1"/etc/hosts' \
	--customize-hook='rm -f "$1"/etc/resolv.conf' \
	--customize-hook='echo 0123456789abcdef0123456789abcdef > "$1"/etc/machine-id' \
	--customize-hook='touch -r "$1"/usr "$1"/etc/.updated "$1"/var/.updated' \
	bookworm "$out.tar"

# fakeroot keeps the owners if this is not root. Device nodes are the kernel's to make.
mkdir "$tree"
truncate -s 2G "$out"
fakeroot sh -ec 'tar -C "$1" --exclude="./dev/*" -xpf "$2.tar"; mke2fs -q -t ext4 -L root -d "$1" "$2"' sh "$tree" "$out"
rm -rf "$tree" "$out.tar"
