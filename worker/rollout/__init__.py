"""Live model rollout: another bundle is served from one micro-batch to the next.

`innerloop models` writes a plan to the `models` topic (`changes`, `plan_log`); each worker of the
group follows it (`follower`), loads, checks and warms what the plan asks for beside the stream
(`preparation`), and then changes the arms that events are answered by (`switcher`, `arms`).
"""
