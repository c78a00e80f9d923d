"""Custom resources between their versions by webhooks (`spec.conversion.strategy: Webhook`).

`review` makes and checks the ConversionReview, `converter` asks a definition's webhook (in batches), `scope` lets code
that does not wait use conversions that must be waited for, `views` keep the objects of one version for lists and
watches, `metrics` counts. Definitions without such a webhook have none of it.

Talks to: the webhooks; the object cache (`Reader`: services and their endpoints).
"""
