import { createRouter, createWebHistory } from 'vue-router'
import { beginPage } from '@/shared/page.js'
import { Session } from '@/shared/session.js'
import App from './App.vue'
import en from './locale/en.js'
import zhCN from './locale/zh-CN.js'
import './ops.css'
import { ROUTES } from './shell/routes.js'
import { Desk } from './shell/desk.js'

// Before the router looks at the address: a token in it is taken out first.
const session = new Session({ role: 'operations', keep: 'tab', socketOnly: true })
void session.begin()
const desk = new Desk(session)
beginPage(App, { 'zh-CN': zhCN, en }, { desk }, (app) => app.use(createRouter({ history: createWebHistory(), routes: ROUTES })))
desk.start()
