#!/bin/sh
# Makes the RayJob of a day, unless it is there, and waits until it has ended; ends as it did.
set -eu
day=${MELO_DAY:-$(date -u +%Y-%m-%d)}
name=melo-$day
every=${MELO_EVERY:-15}

sed "s/melo-DATE/$name/g" /etc/melo/rayjob.yaml > /tmp/rayjob.yaml
if ! told=$(kubectl create -f /tmp/rayjob.yaml 2>&1); then
    case $told in
        *AlreadyExists*) told="$name was made before and is not made again" ;;
        *) echo "$told" >&2; exit 1 ;;
    esac
fi
echo "$told"

silent=0
while :; do
    if state=$(kubectl get rayjob "$name" -o 'jsonpath={.status.jobDeploymentStatus}/{.status.jobStatus}'); then
        silent=0
    else
        state=unknown
        silent=$((silent + 1))
        [ "$silent" -lt 40 ] || { echo "$name is out of reach" >&2; exit 1; }
    fi
    case $state in
        Complete/SUCCEEDED) echo "$name: $state"; exit 0 ;;
        Complete/*|Failed/*)
            echo "$name: $state $(kubectl get rayjob "$name" -o 'jsonpath={.status.reason} {.status.message}')" >&2
            exit 1 ;;
    esac
    sleep "$every"
done
