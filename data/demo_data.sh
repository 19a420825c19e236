#!/bin/sh
# Prints the name of the dataset that `make demo` uses, after trying to put it on this machine.
#   1. Fashion-MNIST from Debian's package dataset-fashion-mnist, where apt can install it or it already is
#   2. Fashion-MNIST by torchvision's own download
#   3. the digits of scikit-learn
# Usage: demo_data.sh PYTHON
python=$1
package=dataset-fashion-mnist
installed=/usr/share/datasets/fashion-mnist

say() { echo "$*" >&2; }

if [ ! -d "$installed" ] && command -v apt-get >/dev/null; then
    say "installing Debian's $package ..."
    sudo=; [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    if ! $sudo apt-get install -y -qq "$package" >/dev/null 2>&1; then
        $sudo apt-get update -qq >/dev/null 2>&1 && $sudo apt-get install -y -qq "$package" >/dev/null 2>&1
    fi
fi

if "$python" -c 'from featx import load_dataset; load_dataset("fashion-mnist")' 2>/dev/null; then
    echo fashion-mnist
else
    say "Fashion-MNIST is neither packaged nor downloadable here; the demo runs on scikit-learn's digits."
    echo digits
fi
