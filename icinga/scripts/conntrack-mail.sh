#!/bin/sh
#
# Mails one notification, with the whole output of the check: the verdict and, below it, the reason.
#
# Goes to /etc/icinga2/scripts/conntrack-mail.sh, mode 0755. Needs a sendmail (any MTA, msmtp, nullmailer);
# SENDMAIL names another one. Called by NotificationCommand "conntrack-mail", which sets NOTIFY_*.

set -eu

: "${NOTIFY_TO:?set by Icinga: the address of a user without email is empty}"

line() {
	printf '%s' "$1" | tr -d '\r' | tr '\n\t' '  '
}

verdict=$(printf '%s\n' "${NOTIFY_OUTPUT:-}" | head -n 1)

{
	printf 'To: %s\n' "$(line "$NOTIFY_TO")"
	# the state is in the verdict already, but not when the plugin could not be started
	printf 'Subject: [%s] %s on %s is %s: %s\n' "$(line "${NOTIFY_TYPE:-}")" "$(line "${NOTIFY_SERVICE:-}")" \
		"$(line "${NOTIFY_HOST:-}")" "$(line "${NOTIFY_STATE:-}")" "$(line "${verdict#CONNTRACK * - }")"
	printf 'Auto-Submitted: auto-generated\n'
	printf 'MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n'
	printf '%s (%s), %s\n\n' "${NOTIFY_HOST:-}" "${NOTIFY_ADDRESS:-}" "${NOTIFY_TIME:-}"
	printf '%s\n' "${NOTIFY_OUTPUT:-}"
	if [ -n "${NOTIFY_COMMENT:-}" ]; then
		printf '\n%s: %s\n' "${NOTIFY_AUTHOR:-}" "$NOTIFY_COMMENT"
	fi
} | "${SENDMAIL:-/usr/sbin/sendmail}" -t -i
