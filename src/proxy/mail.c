/* Posting. The letters are read in loop.c, in the order in which they were sent. */
#include "proxy/mail.h"

#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>

static int post(struct worker *w, enum mail_kind kind, struct mail contents)
{
	struct mail *mail = malloc(sizeof(*mail));

	if (mail == NULL)
		return -ENOMEM;
	*mail = contents;
	mail->message.kind = kind;
	mailbox_send(&w->mailbox, &mail->message);
	return 0;
}

int mail_table(struct worker *w, struct table *table)
{
	int err = post(w, MAIL_TABLE, (struct mail){.table = table_ref(table)});

	if (err != 0)
		table_unref(table);
	return err;
}

int mail_geo(struct worker *w, struct geo_db *geo)
{
	int err = post(w, MAIL_GEO, (struct mail){.geo = geo_db_ref(geo)});

	if (err != 0)
		geo_db_unref(geo);
	return err;
}

int mail_client(struct worker *w, int fd, const struct endpoint *peer, struct service *service)
{
	return post(w, MAIL_CLIENT, (struct mail){.fd = fd, .peer = *peer, .service = service});
}

int mail_sweep(struct worker *w)
{
	return post(w, MAIL_SWEEP, (struct mail){0});
}

int mail_census(struct worker *w, struct census_part *part)
{
	return post(w, MAIL_CENSUS, (struct mail){.part = part});
}

int mail_places(struct worker *w)
{
	return post(w, MAIL_PLACES, (struct mail){0});
}

int mail_stop(struct worker *w)
{
	return post(w, MAIL_STOP, (struct mail){0});
}

int mail_pause(struct worker *w)
{
	return post(w, MAIL_PAUSE, (struct mail){0});
}

int mail_resume(struct worker *w)
{
	return post(w, MAIL_RESUME, (struct mail){0});
}

int mail_leave(struct worker *w)
{
	return post(w, MAIL_LEAVE, (struct mail){0});
}
